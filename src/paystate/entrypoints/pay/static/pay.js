// Keeps a payment page true: polls its status, counts down, and moves on when the state changes.
const ENDS = { PAID: 'success', EXPIRED: 'expired', CANCELED: 'canceled' };
const SECOND = 1000, LONGEST = 30 * SECOND, WARN = 60 * SECOND, SHOWN = 700;
const LIVE = 'Live – this page updates by itself';

for (const time of document.querySelectorAll('time[data-local]')) {
  time.textContent = new Date(time.dateTime).toLocaleString([], { dateStyle: 'long', timeStyle: 'short' });
}
const card = document.querySelector('[data-poll]');
if (card) watch(card);

function watch(card) {
  const data = card.dataset, usual = data.pollSeconds * SECOND;
  const label = document.getElementById('label'), live = document.querySelector('[data-live]');
  let wait = usual, timer = 0, asking = false, left = false;

  function say(text, on) {
    live.classList.toggle('on', on);
    live.lastElementChild.textContent = text;
  }
  function later(delay) {
    clearTimeout(timer);
    if (!left) timer = setTimeout(ask, document.hidden ? Math.max(delay, LONGEST) : delay);
  }
  function leave(go) {
    left = true;
    clearTimeout(timer);
    setTimeout(go, SHOWN);
  }
  async function ask() {
    if (asking || left) return;
    asking = true;
    try {
      const answer = await fetch(data.poll, { headers: { Accept: 'application/json' }, credentials: 'omit' });
      if (answer.status === 429) return later((Number(answer.headers.get('Retry-After')) || 30) * SECOND);
      if (!answer.ok) throw new Error(`status ${answer.status}`);
      const now = await answer.json();
      wait = usual;
      say(LIVE, true);
      const over = now.isExpired && data.payable === 'true';
      if (now.currentStatus === data.state && !over) return later(wait);
      label.textContent = now.statusMessage;
      const end = ENDS[now.currentStatus];
      leave(() => (end ? location.replace(`${data[end]}#status`) : location.reload()));
    } catch {
      wait = Math.min(wait * 2, LONGEST);
      say(`Connection lost – trying again in ${wait / SECOND} seconds`, false);
      later(wait);
    } finally {
      asking = false;
    }
  }
  const now = () => { if (!document.hidden) later(0); };
  document.addEventListener('visibilitychange', now);
  addEventListener('online', now);
  addEventListener('pageshow', (event) => { if (event.persisted) location.reload(); });
  document.querySelector('[data-check]').addEventListener('click', (event) => {
    event.preventDefault();
    wait = usual;
    later(0);
  });
  say(LIVE, true);
  later(wait);
  countDown(() => later(SECOND));
  timeOut(data.timeoutSeconds * SECOND, () => leave(() => location.replace(`${data.home}/expired`)));
}

function countDown(ended) {
  const timer = document.querySelector('[data-seconds-left]'), announce = document.querySelector('[data-announce]');
  if (!timer) return;
  const end = performance.now() + timer.dataset.secondsLeft * SECOND;
  const spoken = { 300: '5 minutes left to pay', 60: '1 minute left to pay' }, pad = (n) => String(n).padStart(2, '0');
  const tick = setInterval(show, SECOND);
  function show() {
    const left = Math.max(0, Math.round((end - performance.now()) / SECOND));
    if (left >= 24 * 3600) return;
    const hours = Math.floor(left / 3600), minutes = Math.floor(left / 60) % 60;
    timer.textContent = `in ${hours ? `${hours}:${pad(minutes)}` : minutes}:${pad(left % 60)}`;
    if (spoken[left]) announce.textContent = spoken[left];
    if (left === 0) {
      clearInterval(tick);
      ended();
    }
  }
  show();
}

function timeOut(after, ended) {
  const warning = document.querySelector('[data-warning]');
  let warn = 0, end = 0;
  function start() {
    clearTimeout(warn);
    clearTimeout(end);
    warning.hidden = true;
    warn = setTimeout(() => { warning.hidden = false; }, Math.max(after - WARN, after / 2));
    end = setTimeout(ended, after);
  }
  warning.querySelector('[data-stay]').addEventListener('click', start);
  start();
}
