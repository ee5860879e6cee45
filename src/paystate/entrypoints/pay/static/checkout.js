// Sends a checkout's form on by itself, once, and copies what is to be typed into a wallet. Without it, buttons and text do.
const ONCE = 'posted-', SHOWN = 2000;

const form = document.querySelector('[data-post-once]');
if (form) postOnce(form);
for (const button of document.querySelectorAll('[data-copy]')) offerCopy(button);

function postOnce(form) {
  const key = ONCE + form.dataset.postOnce;
  try {
    // Whoever comes back must not be sent away again, and this form may be used up.
    if (sessionStorage.getItem(key)) return preferAnew(form);
    sessionStorage.setItem(key, '1');
  } catch {
    return;
  }
  form.submit();
}

function preferAnew(form) {
  form.querySelector('button').classList.remove('primary');
  document.querySelector('[data-anew]').classList.add('primary');
}

function offerCopy(button) {
  if (!navigator.clipboard) return;
  const announce = document.querySelector('[data-copied]'), value = button.parentElement.querySelector('[data-value]');
  const label = button.textContent;
  let back = 0;
  button.hidden = false;
  button.addEventListener('click', async () => {
    clearTimeout(back);
    try {
      await navigator.clipboard.writeText(value.textContent);
      button.textContent = 'Copied';
      announce.textContent = `Copied: ${value.textContent}`;
    } catch {
      getSelection().selectAllChildren(value);
      button.textContent = 'Selected';
      announce.textContent = 'Copying is not allowed here; the text is selected.';
    }
    back = setTimeout(() => { button.textContent = label; }, SHOWN);
  });
}
