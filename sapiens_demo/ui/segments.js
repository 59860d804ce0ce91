const list = element.querySelector('.segments');
list.setAttribute('aria-label', settings.title);

function paint() {
  for (const button of list.children) {
    const on = button.dataset.key === props.value;
    button.setAttribute('aria-checked', on);
    button.tabIndex = on ? 0 : -1;
  }
}

function choose(place) {
  const button = list.children[(place + list.children.length) % list.children.length];
  button.focus();
  if (button.dataset.key === props.value) return;
  props.value = button.dataset.key;
  paint();
  trigger('input');
}

settings.choices.forEach(([key, title], place) => {
  const button = document.createElement('button');
  button.type = 'button';
  button.dataset.key = key;
  button.textContent = title;
  button.setAttribute('role', 'radio');
  button.addEventListener('click', () => choose(place));
  button.addEventListener('keydown', (event) => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!by) return;
    event.preventDefault();
    choose(place + by);
  });
  list.append(button);
});
watch('value', paint);
paint();
