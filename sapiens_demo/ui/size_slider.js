const find = (selector) => element.querySelector(selector);
const range = find('.range');
const settleAfter = 350;
let timer = 0;
let attempted = null;

const stops = () => props.stops || [];
const settled = () => Math.max(0, stops().findIndex((stop) => stop.id === props.value));
const usable = (index) => stops()[index] && stops()[index].state !== 'off';

function build() {
  const dots = find('.dots');
  const list = find('.stops');
  dots.replaceChildren();
  list.replaceChildren();
  stops().forEach((stop, index) => {
    const dot = document.createElement('span');
    dot.style.left = 10 + (80 * index) / (stops().length - 1) + '%';
    dots.append(dot);
    const button = document.createElement('button');
    button.type = 'button';
    button.tabIndex = -1;
    button.dataset.size = stop.id;
    button.append(document.createElement('b'), document.createElement('small'));
    button.addEventListener('click', () => { range.focus({ preventScroll: true }); go(index, 0); });
    list.append(button);
  });
}

// Paint what is chosen, or what a thumb under way points at.
function paint(index) {
  if (find('.stops').children.length !== stops().length) build();
  const stop = stops()[index];
  if (!stop) return;
  const shown = attempted === null ? stop : stops()[attempted];
  find('.title').textContent = settings.label;
  range.setAttribute('aria-labelledby', 'size-title');
  range.value = index;
  range.max = stops().length - 1;
  range.classList.toggle('off', stop.state === 'off');
  range.setAttribute('aria-valuetext', stop.title + ', ' + (stop.state === 'off' ? settings.words.off : stop.hint));
  element.querySelector('.size').style.setProperty('--at', index / (stops().length - 1));
  stops().forEach((each, place) => {
    const dot = find('.dots').children[place];
    dot.className = each.state === 'off' ? 'off' : place <= index ? 'passed' : '';
    const button = find('.stops').children[place];
    button.className = each.state + (place === index ? ' chosen' : '');
    button.title = each.hint;
    button.setAttribute('aria-disabled', each.state === 'off');
    button.children[0].textContent = each.title;
    button.children[1].textContent = each.note;
  });
  const hint = find('.hint');
  if (hint.textContent !== shown.hint) hint.textContent = shown.hint;
  hint.classList.toggle('warn', shown.state === 'off');
  find('.reasons').textContent = shown.hint === props.reasons ? '' : props.reasons;
}

function settle(index, delay) {
  clearTimeout(timer);
  timer = setTimeout(() => {
    const stop = stops()[index];
    if (!stop || stop.id === props.value) return;
    props.value = stop.id;
    trigger('input');
  }, delay);
}

// Take a stop, or stay and say why it cannot be taken.
function go(index, delay) {
  if (!stops()[index]) return;
  if (usable(index)) {
    attempted = null;
    paint(index);
    settle(index, delay);
  } else {
    attempted = index;
    paint(usable(Number(range.value)) ? Number(range.value) : settled());
  }
}

const keys = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1, PageUp: 1, PageDown: -1 };

function step(from, by) {
  for (let index = from + by; stops()[index]; index += by) if (usable(index)) return index;
  return from + by;
}

range.addEventListener('keydown', (event) => {
  const last = stops().length - 1;
  let target = null;
  if (event.key in keys) target = step(Number(range.value), keys[event.key]);
  if (event.key === 'Home') target = step(-1, 1);
  if (event.key === 'End') target = step(last + 1, -1);
  if (target === null) return;
  event.preventDefault();
  if (target >= 0 && target <= last) go(target, settleAfter);
});

range.addEventListener('input', () => {
  const index = Number(range.value);
  attempted = usable(index) ? null : index;
  paint(index);
});

range.addEventListener('change', () => {
  const index = Number(range.value);
  if (usable(index)) return go(index, 0);
  attempted = index;
  paint(settled());
});

watch(['value', 'stops', 'reasons'], () => { clearTimeout(timer); attempted = null; paint(settled()); });
paint(settled());
