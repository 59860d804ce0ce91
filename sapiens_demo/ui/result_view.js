const find = (selector) => element.querySelector(selector);
const words = settings.words;
const root = find('.result');
const frame = find('.frame');
const divider = find('.divider');
let layer = 0;
let photoShown = null;

const make = (name, className, text) => {
  const made = document.createElement(name);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
};
const address = (picture) => (picture ? picture.url : null);
const speak = (sentence) => { if (find('.spoken').textContent !== sentence) find('.spoken').textContent = sentence; };

// ---- The picture, and the handle between photo and result

function moveHandle(share) {
  divider.value = Math.round(Math.min(1, Math.max(0, share)) * 100);
  frame.style.setProperty('--at', divider.value + '%');
  divider.setAttribute('aria-valuetext', divider.value + words.dividerValue);
  find('.before').style.opacity = divider.value < 12 ? 0 : 1;
  find('.after').style.opacity = divider.value > 88 ? 0 : 1;
}

function follow(event) {
  const box = frame.getBoundingClientRect();
  moveHandle((event.clientX - box.left) / box.width);
}

frame.addEventListener('pointerdown', (event) => {
  if (event.button !== 0 || root.classList.contains('plain')) return;
  frame.setPointerCapture(event.pointerId);
  divider.focus({ preventScroll: true, focusVisible: false });
  event.preventDefault();
  follow(event);
});
frame.addEventListener('pointermove', (event) => { if (frame.hasPointerCapture(event.pointerId)) follow(event); });
divider.addEventListener('input', () => moveHandle(divider.value / 100));

// Put a picture in place of another; of another photo nothing stays in sight until it has arrived.
function show(picture, url, hide) {
  if (picture.getAttribute('src') === url) return false;
  if (hide) picture.style.visibility = 'hidden';
  picture.onload = picture.onerror = () => { picture.style.visibility = ''; };
  picture.src = url;
  return true;
}

function showPictures(view) {
  root.classList.toggle('blank', !view);
  root.classList.toggle('plain', !view || !view.layers.length);
  if (!view) return;
  frame.style.setProperty('--ratio', view.width / view.height);
  const another = show(find('.photo'), address(view.photo), true);
  layer = Math.min(layer, Math.max(0, view.layers.length - 1));
  const drawn = view.layers[layer];
  if (!drawn) return find('.drawing').removeAttribute('src');
  show(find('.drawing'), address(drawn.picture), another);
  find('.drawing').alt = drawn.alt;
  find('.after').textContent = drawn.title;
}

// ---- What stands under it

function showLayers(view) {
  const list = find('.layers');
  list.replaceChildren();
  const layers = view && view.layers.length > 1 ? view.layers : [];
  list.style.display = layers.length ? '' : 'none';
  list.setAttribute('aria-label', words.view);
  layers.forEach((each, index) => {
    const button = make('button', '', each.title);
    button.type = 'button';
    button.setAttribute('role', 'radio');
    button.setAttribute('aria-checked', index === layer);
    button.tabIndex = index === layer ? 0 : -1;
    const choose = (chosen) => { layer = (chosen + layers.length) % layers.length; showAll(); list.children[layer].focus(); };
    button.addEventListener('click', () => choose(index));
    button.addEventListener('keydown', (event) => {
      const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (by) { event.preventDefault(); choose(index + by); }
    });
    list.append(button);
  });
}

const legends = {
  parts: (entry) => {
    const chip = make('span', 'chip');
    const swatch = make('i');
    swatch.style.background = entry.color;
    chip.append(swatch, entry.title, make('b', '', entry.share));
    return chip;
  },
  fact: (entry) => make('span', 'chip', entry.title),
  scale: (entry) => {
    const scale = make('span', 'scale');
    const bar = make('img');
    bar.src = address(entry.picture);
    bar.alt = entry.alt;
    scale.append(entry.near, bar, entry.far);
    return scale;
  },
  ball: (entry) => {
    const ball = make('span', 'ball');
    const picture = make('img');
    picture.src = address(entry.picture);
    picture.alt = '';
    ball.append(picture, entry.sentence);
    return ball;
  },
};

function showLegend(view) {
  const drawn = view && view.layers[layer];
  find('.legend').replaceChildren(...(drawn ? drawn.legend : []).map((entry) => legends[entry.kind](entry)));
  find('.notes').replaceChildren(...(view ? view.notes : []).map((note) => make('span', '', note)));
  find('.whom').textContent = view ? view.people : '';
  find('.caption').textContent = view ? view.caption : '';
  for (const button of find('.downloads').children) button.disabled = !drawn || !view.files.includes(button.dataset.kind);
}

function showAll() {
  const view = props.value && props.value.photo ? props.value : null;
  showPictures(view);
  showLayers(view);
  showLegend(view);
  if (view && view.scroll && photoShown !== view.photo.url && window.innerWidth < 768) bringIntoSight();
  photoShown = view ? view.photo.url : null;
}

function bringIntoSight() {
  const calm = window.matchMedia('(prefers-reduced-motion: reduce)').matches;
  find('.stage').scrollIntoView({ block: 'center', behavior: calm ? 'auto' : 'smooth' });
}

// ---- What goes on

function showStatus() {
  const status = props.status || { state: 'idle' };
  const idle = status.state === 'idle';
  const running = status.state === 'running';
  const veil = find('.veil');
  veil.classList.toggle('shown', !idle);
  veil.classList.toggle('patient', running);
  root.setAttribute('aria-busy', running);
  root.dataset.state = status.state;
  if (idle) return speak(props.value && props.value.layers && props.value.layers.length ? words.done : '');
  find('.sentence').textContent = status.sentence || '';
  const bar = find('.progress');
  bar.style.display = running ? '' : 'none';
  const known = typeof status.share === 'number';
  bar.classList.toggle('unknown', !known);
  bar.style.setProperty('--done', known ? Math.round(status.share * 100) + '%' : '');
  if (known) bar.setAttribute('aria-valuenow', Math.round(status.share * 100)); else bar.removeAttribute('aria-valuenow');
  bar.setAttribute('aria-label', status.sentence || '');
  const action = find('.action');
  action.style.display = status.action ? '' : 'none';
  action.textContent = status.action || '';
  // Bytes tick away; only what is being done is read out.
  speak((status.sentence || '').replace(/:? [0-9.]+ [kMG]?B of [0-9.]+ [kMG]?B/, ''));
}

find('.action').addEventListener('click', () => trigger('submit', {}));

// ---- Controls

function showOpacity(share) {
  frame.style.setProperty('--opacity', share);
  find('.opacity output').textContent = Math.round(share * 100) + ' %';
}

function buildTools() {
  const opacity = find('.opacity');
  opacity.querySelector('span').textContent = words.opacity;
  const slide = opacity.querySelector('input');
  slide.value = settings.opacity * 100;
  slide.addEventListener('input', () => showOpacity(slide.value / 100));
  showOpacity(settings.opacity);
  const threshold = find('.threshold');
  if (typeof settings.threshold !== 'number') return threshold.remove();
  threshold.querySelector('span').textContent = words.threshold;
  const level = threshold.querySelector('input');
  const show = () => { threshold.querySelector('output').textContent = Number(level.value).toFixed(2); };
  level.value = settings.threshold;
  level.addEventListener('input', show);
  level.addEventListener('change', () => trigger('threshold', { threshold: Number(level.value) }));
  show();
}

function buildDownloads() {
  find('.downloads').setAttribute('aria-label', words.download);
  for (const [kind, title, type] of settings.downloads) {
    const button = make('button', '', title);
    button.type = 'button';
    button.dataset.kind = kind;
    button.setAttribute('aria-label', words.download + ': ' + title + ', ' + type);
    button.append(make('small', '', type));
    button.addEventListener('click', () => {
      if (button.getAttribute('aria-busy') === 'true') return;
      button.setAttribute('aria-busy', 'true');
      trigger('download', { kind });
    });
    find('.downloads').append(button);
  }
}

root.dataset.task = settings.task;
divider.setAttribute('aria-label', words.divider);
find('.before').textContent = words.photo;
find('.legend').setAttribute('aria-label', words.legend);
buildTools();
buildDownloads();
moveHandle(0.5);
// A value and its status may arrive one after the other.
watch('value', () => { showAll(); showStatus(); });
watch('status', showStatus);
watch('saved', () => { for (const button of find('.downloads').children) button.removeAttribute('aria-busy'); });
showAll();
showStatus();
