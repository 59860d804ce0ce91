const strip = element.querySelector('.strip');
strip.setAttribute('aria-label', settings.label);
for (const example of settings.examples) {
  const button = document.createElement('button');
  button.type = 'button';
  button.dataset.name = example.name;
  button.title = example.title;
  button.setAttribute('aria-label', settings.words.choose + ': ' + example.title);
  const picture = document.createElement('img');
  picture.src = example.thumbnail;
  picture.alt = example.alt;
  button.append(picture);
  button.addEventListener('click', () => { props.value = example.name; paint(); trigger('input'); });
  strip.append(button);
}
function paint() {
  for (const button of strip.children) button.setAttribute('aria-pressed', button.dataset.name === props.value);
}
watch('value', paint);
paint();
