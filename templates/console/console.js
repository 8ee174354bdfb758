// Pages are whole without this. With it a form is sent once however often its button is pressed, and times are told in the reader's zone.
'use strict';

for (const form of document.querySelectorAll('form[method=post]')) {
  form.addEventListener('submit', (event) => {
    if (form.dataset.sent) event.preventDefault();
    form.dataset.sent = 'yes';
    for (const button of form.querySelectorAll('button')) button.setAttribute('aria-disabled', 'true');
  });
}

// A page that the browser kept may be sent anew.
addEventListener('pageshow', () => {
  for (const form of document.querySelectorAll('form[method=post]')) {
    delete form.dataset.sent;
    for (const button of form.querySelectorAll('button')) button.removeAttribute('aria-disabled');
  }
});

// On a phone the navigation is a row that slides: it begins where one is.
document.querySelector('.bar nav [aria-current]')?.scrollIntoView({ block: 'nearest', inline: 'center' });

// A file that the server would refuse is not sent first.
for (const form of document.querySelectorAll('form[data-bytes-max]')) {
  const [file, warning] = [form.querySelector('[type=file]'), form.querySelector('[data-too-large]')];
  file.addEventListener('change', () => {
    warning.hidden = !(file.files[0]?.size > Number(form.dataset.bytesMax));
    file.setCustomValidity(warning.hidden ? '' : warning.textContent);
  });
}

const local = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'long' });
const tellTimes = (part) => {
  for (const time of part.querySelectorAll('time[datetime]')) time.title = local.format(new Date(time.dateTime));
};
tellTimes(document);
document.addEventListener('renewed', (event) => tellTimes(event.detail));

// A slider and the number beside it say the same.
for (const number of document.querySelectorAll('input[data-slider]')) {
  const slider = document.getElementById(number.dataset.slider);
  if (!number.value) number.value = slider.value;
  slider.addEventListener('input', () => { number.value = slider.value; });
  number.addEventListener('input', () => { if (/^[0-9]+([.][0-9]+)?$/.test(number.value)) slider.value = number.value; });
}
