const find = (selector) => element.querySelector(selector);
const words = settings.words;
const root = find('.people');
const preview = find('.preview');
const desk = find('.desk');
const board = find('.board');
const sheet = find('.board .sheet');
const smallest = 8; // pixels of the screen: less is a slip of the hand
const reaches = { mouse: 9, pen: 14, touch: 24 }; // how far from an edge a hand still takes hold of it

let photo = null; // { url, width, height }
let boxes = [];
let found = null;
let chosen = null;
let edited = false;
let state = 'looking';
let stamp = 0; // counts the changes made here; what the server says about older ones is out of date

// What is on the desk, while it is open.
let draft = [];
let selected = -1;
let drag = null;

const fill = (sentence, values) => sentence.replace(/{([a-z]+)}/g, (_, name) => values[name]);
const same = (one, two) => JSON.stringify(one) === JSON.stringify(two);
const between = (low, value, high) => Math.min(high, Math.max(low, value));
const show = (part, shown) => { part.style.display = shown ? '' : 'none'; };

// ---- Boxes on a picture

// Bring the elements of a sheet in line with a list of boxes; elements stay, so that focus and touch do too.
function paintBoxes(list, some, make) {
  while (list.children.length > some.length) list.lastChild.remove();
  while (list.children.length < some.length) list.append(make(list.children.length));
  some.forEach(([left, top, right, low], index) => {
    const style = list.children[index].style;
    style.left = (100 * Math.min(left, right)) / photo.width + '%';
    style.top = (100 * Math.min(top, low)) / photo.height + '%';
    style.width = (100 * Math.abs(right - left)) / photo.width + '%';
    style.height = (100 * Math.abs(low - top)) / photo.height + '%';
    // The number moves inside where there is no room for it above the box.
    list.children[index].classList.toggle('low', (Math.min(top, low) * list.clientHeight) / photo.height < 34);
  });
}

function makeBox(index) {
  const box = document.createElement('div');
  box.className = 'box';
  const number = document.createElement('b');
  number.textContent = index + 1;
  box.append(number);
  return box;
}

// The smallest box around a point: of two people, the one in front is mostly the one to be had.
function boxAt(some, [x, y]) {
  let best = -1;
  const area = ([left, top, right, low]) => (right - left) * (low - top);
  some.forEach((box, index) => {
    const [left, top, right, low] = box;
    if (x < left || x > right || y < top || y > low) return;
    if (best < 0 || area(box) < area(some[best])) best = index;
  });
  return best;
}

function pointAt(event, picture) {
  const frame = picture.getBoundingClientRect();
  return [
    between(0, (event.clientX - frame.left) / frame.width, 1) * photo.width,
    between(0, (event.clientY - frame.top) / frame.height, 1) * photo.height,
  ];
}

// ---- At rest: the photo, its people, and which of them are looked at

function sentence() {
  if (chosen !== null) return fill(words.only, { number: chosen + 1 });
  if (edited) {
    const many = boxes.length === 1 ? words.oneDrawn : words.manyDrawn;
    return boxes.length ? fill(many, { count: boxes.length }) : words.none;
  }
  if (state !== 'known') return words[state];
  if (!boxes.length) return words.nobody;
  return boxes.length === 1 ? words.oneFound : fill(words.manyFound, { count: boxes.length });
}

function chip(label, title, index) {
  const button = document.createElement('button');
  button.type = 'button';
  button.textContent = label;
  button.setAttribute('role', 'radio');
  button.setAttribute('aria-label', title);
  button.addEventListener('click', () => choose(index));
  button.addEventListener('keydown', (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    const all = boxes.length + 1;
    const place = ((index === null ? 0 : index + 1) + by + all) % all;
    choose(place === 0 ? null : place - 1);
    find('.chips').children[place].focus();
  });
  return button;
}

function paintChips() {
  const list = find('.chips');
  show(list, boxes.length > 1);
  if (list.children.length !== boxes.length + 1) {
    const numbers = boxes.map((_, index) => chip(index + 1, fill(words.person, { number: index + 1 }), index));
    list.replaceChildren(chip(words.all, words.all, null), ...numbers);
  }
  [...list.children].forEach((button, place) => {
    const on = (place === 0 ? null : place - 1) === chosen;
    button.setAttribute('aria-checked', on);
    button.tabIndex = on ? 0 : -1;
    if (on) list.scrollLeft = Math.max(0, button.offsetLeft - list.clientWidth / 2);
  });
}

function paint() {
  root.classList.toggle('blank', !photo);
  if (!photo) {
    root.dataset.state = 'looking';
    find('.sentence').textContent = words.reading;
    return show(find('.chips'), false);
  }
  for (const picture of element.querySelectorAll('.picture')) {
    if (picture.getAttribute('src') === photo.url) continue;
    picture.style.visibility = 'hidden'; // the photo before must not stay in sight until this one has arrived
    picture.onload = picture.onerror = () => { picture.style.visibility = ''; };
    picture.src = photo.url;
  }
  for (const each of element.querySelectorAll('.sheet')) each.style.setProperty('--ratio', photo.width / photo.height);
  paintBoxes(find('.preview .boxes'), boxes, makeBox);
  [...find('.preview .boxes').children].forEach((box, index) => {
    box.classList.toggle('chosen', index === chosen);
    box.classList.toggle('aside', chosen !== null && index !== chosen);
  });
  preview.classList.toggle('choosable', boxes.length > 1);
  root.dataset.state = state;
  const words_ = sentence();
  if (find('.sentence').textContent !== words_) find('.sentence').textContent = words_;
  find('.edit span').textContent = boxes.length ? words.edit : words.draw;
  show(find('.bar .reset'), edited && found !== null);
  paintChips();
}

function send(change) {
  ({ boxes, chosen, edited } = { boxes, chosen, edited, ...change });
  paint();
  stamp += 1;
  props.value = { boxes, chosen, edited, stamp };
  trigger('input');
}

function choose(index) {
  if (index !== chosen) send({ chosen: index });
}

function reset() {
  send({ boxes: found, chosen: null, edited: false });
  find('.edit').focus();
}

preview.addEventListener('click', (event) => {
  if (!photo || boxes.length < 2) return;
  const index = boxAt(boxes, pointAt(event, find('.preview .sheet')));
  choose(index < 0 || index === chosen ? null : index);
});

// A photo that is dropped on this one takes its place.
preview.addEventListener('dragover', (event) => event.preventDefault());
preview.addEventListener('drop', (event) => {
  const input = document.querySelector(settings.photoInput + ' input[type=file]');
  if (!input || !event.dataTransfer.files.length) return;
  event.preventDefault();
  input.files = event.dataTransfer.files;
  input.dispatchEvent(new Event('change', { bubbles: true }));
});

// ---- On the desk: boxes are drawn, moved, resized and deleted

function makeHandles(index) {
  const box = makeBox(index);
  box.tabIndex = 0;
  box.setAttribute('role', 'button');
  for (const place of ['nw', 'n', 'ne', 'e', 'se', 's', 'sw', 'w']) {
    const handle = document.createElement('i');
    handle.className = place;
    box.append(handle);
  }
  box.addEventListener('focus', () => { if (!drag) select(index); });
  box.addEventListener('keydown', (event) => onKey(event, index));
  return box;
}

function paintDesk() {
  paintBoxes(find('.board .boxes'), draft, makeHandles);
  [...find('.board .boxes').children].forEach((box, index) => {
    const [left, top, right, low] = draft[index].map(Math.round);
    const where = { number: index + 1, count: draft.length, left, top, width: right - left, height: low - top };
    box.classList.toggle('chosen', index === selected);
    box.setAttribute('aria-label', fill(words.box, where));
    box.setAttribute('aria-pressed', index === selected);
  });
  find('.remove').disabled = selected < 0;
  find('.new').disabled = draft.length >= settings.most;
  find('footer .reset').disabled = found === null || same(draft, found);
}

function select(index) {
  selected = index;
  paintDesk();
}

const tell = (sentence) => { find('.told').textContent = sentence; };

function openDesk() {
  draft = boxes.map((box) => [...box]);
  selected = chosen === null ? -1 : chosen;
  drag = null;
  tell('');
  desk.showModal();
  paintDesk();
  const first = find('.board .boxes').children[Math.max(0, selected)];
  (first || find('.new')).focus({ focusVisible: false });
  if (chosen === null) select(-1);
}

function closeDesk(accept) {
  desk.close();
  find('.edit').focus({ focusVisible: false });
  if (!accept || same(draft, boxes)) return;
  // Who was chosen stays chosen where that box is still there.
  const kept = chosen === null ? -1 : draft.findIndex((box) => same(box, boxes[chosen]));
  send({ boxes: draft, chosen: kept < 0 ? null : kept, edited: found === null || !same(draft, found) });
}

function add(box) {
  if (draft.length >= settings.most) { tell(fill(words.most, { count: settings.most })); return false; }
  draft.push(box);
  selected = draft.length - 1;
  return true;
}

function remove(index) {
  if (index < 0) return;
  draft.splice(index, 1);
  select(Math.min(index, draft.length - 1));
  tell(fill(words.removed, { number: index + 1 }));
  const next = find('.board .boxes').children[selected];
  (next || find('.new')).focus();
}

// Move a box, or some of its edges, by so many pixels of the photo; it stays inside the photo.
function shifted([left, top, right, low], hold, [x, y]) {
  if (!hold.x && !hold.y) {
    x = between(-left, x, photo.width - right);
    y = between(-top, y, photo.height - low);
    return [left + x, top + y, right + x, low + y];
  }
  const across = (value) => between(0, value + x, photo.width);
  const down = (value) => between(0, value + y, photo.height);
  return [
    hold.x < 0 ? across(left) : left,
    hold.y < 0 ? down(top) : top,
    hold.x > 0 ? across(right) : right,
    hold.y > 0 ? down(low) : low,
  ];
}

// Put corners upright and on whole pixels.
function settled([left, top, right, low]) {
  const upright = [Math.min(left, right), Math.min(top, low), Math.max(left, right), Math.max(top, low)];
  return upright.map(Math.round);
}

// What a hand takes hold of at a point of a box: an edge, a corner, all of it (x and y are 0), or nothing.
function holdAt([left, top, right, low], [x, y], reach) {
  const side = (value, from, to) => {
    const inner = Math.min(reach, (to - from) / 4);
    if (value < from - reach || value > to + reach) return null;
    return value < from + inner ? -1 : value > to - inner ? 1 : 0;
  };
  const hold = { x: side(x, left, right), y: side(y, top, low) };
  return hold.x === null || hold.y === null ? null : hold;
}

function reachOf(event) {
  return ((reaches[event.pointerType] || reaches.mouse) * photo.width) / sheet.clientWidth;
}

function takeHold(event) {
  const point = pointAt(event, sheet);
  if (selected >= 0) {
    const hold = holdAt(draft[selected], point, reachOf(event));
    if (hold) return { index: selected, hold, point };
  }
  const index = boxAt(draft, point);
  return { index, hold: index < 0 ? null : holdAt(draft[index], point, reachOf(event)), point };
}

const cursors = { '-1-1': 'nwse', '11': 'nwse', '-11': 'nesw', '1-1': 'nesw', '-10': 'ew', '10': 'ew', '0-1': 'ns', '01': 'ns' };

function cursorFor(hold) {
  if (!hold) return 'crosshair';
  return hold.x || hold.y ? cursors['' + hold.x + hold.y] + '-resize' : 'move';
}

board.addEventListener('pointerdown', (event) => {
  if (event.button !== 0 || !event.isPrimary || drag) return;
  event.preventDefault();
  board.setPointerCapture(event.pointerId);
  const taken = takeHold(event);
  const before = { draft: draft.map((box) => [...box]), selected };
  if (taken.index < 0) {
    const [x, y] = taken.point;
    // The first box a hand begins is added at once, so that it is seen growing.
    if (!add([x, y, x, y])) return;
    drag = { ...taken, index: selected, hold: { x: 1, y: 1 }, isNew: true, before };
  } else {
    drag = { ...taken, isNew: false, before };
    selected = taken.index;
  }
  drag.box = [...draft[drag.index]];
  tell('');
  paintDesk();
});

board.addEventListener('pointermove', (event) => {
  if (!drag) {
    if (event.pointerType !== 'touch') board.style.cursor = cursorFor(takeHold(event).hold);
    return;
  }
  if (!event.isPrimary) return;
  const [x, y] = pointAt(event, sheet);
  draft[drag.index] = shifted(drag.box, drag.hold, [x - drag.point[0], y - drag.point[1]]);
  paintDesk();
});

board.addEventListener('pointerup', () => {
  if (!drag) return;
  const { index, isNew, before, box } = drag;
  drag = null;
  if (!same(draft[index], box)) draft[index] = settled(draft[index]);
  const [left, top, right, low] = draft[index];
  const least = (smallest * photo.width) / sheet.clientWidth;
  if (right - left < least || low - top < least) {
    // A click beside all boxes lets go of the one that was taken; a box is never squeezed to nothing.
    draft = before.draft;
    selected = isNew ? -1 : index;
  } else if (isNew) tell(fill(words.added, { number: index + 1 }));
  paintDesk();
  const held = find('.board .boxes').children[selected];
  if (held) held.focus({ preventScroll: true, focusVisible: false });
});

board.addEventListener('pointercancel', () => {
  if (!drag) return;
  ({ draft, selected } = drag.before);
  drag = null;
  paintDesk();
});

function onKey(event, index) {
  if (event.key === 'Delete' || event.key === 'Backspace') {
    event.preventDefault();
    return remove(index);
  }
  const ways = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowDown: [0, 1], ArrowUp: [0, -1] };
  const way = ways[event.key];
  if (!way) return;
  event.preventDefault();
  const step = Math.max(1, Math.round(0.01 * Math.max(photo.width, photo.height)));
  const by = way.map((each) => each * step);
  if (!event.shiftKey) draft[index] = shifted(draft[index], { x: 0, y: 0 }, by);
  else {
    const [left, top, right, low] = shifted(draft[index], { x: Math.abs(way[0]), y: Math.abs(way[1]) }, by);
    const least = Math.min(2 * step, Math.min(photo.width, photo.height));
    if (right - left < least || low - top < least) return;
    draft[index] = [left, top, right, low];
  }
  draft[index] = settled(draft[index]);
  select(index);
}

find('.new').addEventListener('click', () => {
  const [width, height] = [photo.width / 4, photo.height / 2];
  const [left, top] = [(photo.width - width) / 2, (photo.height - height) / 2];
  if (!add(settled([left, top, left + width, top + height]))) return;
  paintDesk();
  tell(fill(words.added, { number: selected + 1 }));
  find('.board .boxes').children[selected].focus();
});
find('.remove').addEventListener('click', () => remove(selected));
find('footer .reset').addEventListener('click', () => {
  draft = found.map((box) => [...box]);
  select(-1);
  find('.new').focus();
});
find('.cancel').addEventListener('click', () => closeDesk(false));
find('.done').addEventListener('click', () => closeDesk(true));
desk.addEventListener('cancel', (event) => { event.preventDefault(); closeDesk(false); });
find('.edit').addEventListener('click', openDesk);
find('.bar .reset').addEventListener('click', reset);

// ---- What the server says

function take() {
  const value = props.value;
  if (value && !value.photo) return; // this script's own
  const another = !value || !photo || photo.url !== value.photo.url;
  if (another && desk.open) desk.close();
  photo = value && { url: value.photo.url, width: value.width, height: value.height };
  if (value) ({ found, state } = value);
  if (value && (another || value.stamp >= stamp)) ({ boxes, chosen, edited, stamp } = value);
  paint();
  if (desk.open) paintDesk(); // a draft is the visitor's own
}

find('.preview .picture').alt = words.picture;
find('.board .picture').alt = words.picture;
find('.chips').setAttribute('aria-label', words.choose);
find('#people-title').textContent = words.title;
find('#people-hint').textContent = words.hint;
find('.board .boxes').setAttribute('aria-description', words.keys);
for (const name of ['new', 'remove', 'cancel', 'done']) find('.' + name).textContent = words[name];
for (const button of element.querySelectorAll('.reset')) {
  button.textContent = words.reset;
  button.title = words.resetLong;
}
watch('value', take);
take();
