const button = element.querySelector('.all');
const words = settings.words;
const fill = (sentence, values) => sentence.replace(/{([a-z]+)}/g, (_, name) => values[name]);

function markTab(task, state) {
  const tab = document.getElementById(settings.tabs[task]);
  if (!tab) return;
  tab.dataset.result = state;
  const said = { ready: words.tabReady, running: words.tabRunning }[state];
  if (said) tab.setAttribute('aria-description', said); else tab.removeAttribute('aria-description');
}

let stamp = -1;

function paint() {
  const value = props.value || {};
  if (value.stamp < stamp) return; // overtaken by a later one
  if (value.stamp !== undefined) stamp = value.stamp;
  const states = settings.tasks.map((task) => value[task] || 'off');
  settings.tasks.forEach((task, place) => markTab(task, states[place]));
  const values = { count: states.filter((state) => state === 'ready').length, all: states.length };
  let sentence = words.run;
  if (value.busy) sentence = fill(words.running, values);
  else if (values.count === values.all) sentence = words.all;
  else if (!states.includes('open') && values.count) sentence = fill(words.ready, values);
  element.querySelector('span').textContent = sentence;
  button.disabled = value.busy || !states.includes('open');
}

button.title = words.hint;
button.addEventListener('click', () => trigger('submit', {}));
watch('value', paint);
paint();
