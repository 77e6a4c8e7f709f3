// Keeps an open page as it is on the server. Without this file, every page still works.
const root = document.documentElement;
const $ = (id) => document.getElementById(id);
const all = (query, node = document) => [...node.querySelectorAll(query)];
const policy = window.trustedTypes?.createPolicy('tide', { createHTML: (text) => text });
const parse = (text) =>
  new DOMParser().parseFromString(policy ? policy.createHTML(text) : text, 'text/html');
const headers = { accept: 'text/html' };
root.classList.add('scripted');

// Times in words, as `words.rs` writes them. The offset is that of the browser's clock.
let offset = Date.parse(root.dataset.now) - Date.now() || 0;
const two = (s, large, a, small, b) => {
  const rest = Math.floor((s % large) / small);
  return `${Math.floor(s / large)} ${a}` + (rest ? ` ${rest} ${b}` : '');
};
const rough = (ms) => {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min`;
  return s < 86400 ? two(s, 3600, 'h', 60, 'min') : two(s, 86400, 'd', 3600, 'h');
};
const took = (ms) => {
  const s = Math.floor(ms / 1000);
  if (s < 1) return `${Math.max(ms, 0)} ms`;
  if (s < 10) return `${(Math.floor(ms / 100) / 10).toFixed(1)} s`;
  return s > 59 && s < 3600 ? two(s, 60, 'min', 1, 's') : rough(ms);
};
const fromNow = (ms) =>
  Math.abs(ms) < 1000 ? 'now' : ms > 0 ? `in ${rough(ms)}` : `${rough(-ms)} ago`;

function tick(scope = document) {
  const now = Date.now() + offset;
  for (const it of all('time[data-tick]', scope)) {
    const at = Date.parse(it.dateTime);
    const text = it.dataset.tick === 'for' ? took(now - at) : fromNow(at - now);
    if (it.textContent !== text) it.textContent = text;
  }
}

// Times of day in the viewer's zone, with the server's beside it where they differ.
const zone = Intl.DateTimeFormat().resolvedOptions().timeZone;
const date = { day: 'numeric', month: 'short' };
const parts = (at, timeZone) => at.toLocaleString('en-GB', { timeZone, hourCycle: 'h23' });
const isElsewhere = () => {
  const now = new Date();
  return root.dataset.zone && parts(now, zone) !== parts(now, root.dataset.zone);
};
function localise(scope = document) {
  if (!isElsewhere()) return;
  const today = new Date(Date.now() + offset).toDateString();
  for (const it of all('time[data-clock]:not([data-server])', scope)) {
    const at = new Date(it.dateTime);
    it.dataset.server = it.textContent;
    it.title = `${it.textContent} ${root.dataset.zone}`;
    const day = at.toDateString() === today ? '' : at.toLocaleDateString('en-GB', date) + ' ';
    it.textContent = day + at.toLocaleTimeString('en-GB');
  }
  const said = `Times are in your zone, ${zone}; in logs and charts in ${root.dataset.zone}.`;
  if ($('zone')) $('zone').textContent = said;
}

// The regions of the page: compared without the words of times, and replaced where they differ.
const signature = (node) => {
  const copy = node.cloneNode(true);
  copy.classList?.remove('changed');
  for (const it of all('time', copy)) {
    it.textContent = '';
    for (const name of ['title', 'data-server']) it.removeAttribute(name);
  }
  for (const it of all('progress', copy)) it.removeAttribute('value');
  for (const it of all('button', copy)) it.disabled = false;
  return copy.outerHTML;
};
const focusKey = (node) => {
  const form = node.closest('form')?.getAttribute('action');
  const is = (name, value) => `[${name}="${CSS.escape(value)}"]`;
  if (node.id) return is('id', node.id);
  return form ? `form${is('action', form)} button` : is('href', node.getAttribute('href') ?? '');
};

function patch(old, fresh) {
  const rows = [old, fresh].map((it) => it.querySelector('tbody'));
  if (rows[0] && rows[1] && rows[1].querySelector('tr[id]')) return patchRows(...rows);
  if (signature(old) === signature(fresh)) return;
  const key = old.contains(document.activeElement) && focusKey(document.activeElement);
  old.className = fresh.className;
  old.replaceChildren(...document.importNode(fresh, true).childNodes);
  if (key) (old.querySelector(key) ?? $('main')).focus({ preventScroll: true });
}

function patchRows(old, fresh) {
  const active = old.contains(document.activeElement) && document.activeElement;
  const key = active && focusKey(active);
  const index = active ? [...old.rows].indexOf(active.closest('tr')) : -1;
  const known = new Map([...old.rows].map((row) => [row.id, row]));
  let place = old.firstElementChild;
  for (const row of fresh.rows) {
    let kept = known.get(row.id);
    known.delete(row.id);
    if (kept && signature(kept) === signature(row)) {
      const [bar, now] = [kept, row].map((it) => it.querySelector('progress'));
      if (bar && now) bar.value = now.value;
    } else {
      const copy = document.importNode(row, true);
      copy.classList.add('changed');
      if (kept === place) place = place?.nextElementSibling;
      kept?.remove();
      kept = copy;
    }
    if (kept === place) place = place.nextElementSibling;
    else old.insertBefore(kept, place);
  }
  for (const row of known.values()) row.remove();
  if (active && !old.contains(document.activeElement)) {
    const near = old.rows[Math.min(index, old.rows.length - 1)];
    const next = old.querySelector(key) ?? near?.querySelector('button, a') ?? $('main');
    next.focus({ preventScroll: true });
  }
}

let refreshing, again, timer;
let attempt = $('log')?.dataset.follow;
async function refresh() {
  if (document.hidden) return void (again = true);
  if (refreshing) return void (again = true);
  refreshing = true;
  again = false;
  try {
    const address = new URL(location.href);
    address.searchParams.set('part', 'live');
    const answer = await fetch(address, { headers });
    if (!answer.ok) return;
    const page = parse(await answer.text());
    offset = Date.parse(page.documentElement.dataset.now) - Date.now() || offset;
    for (const fresh of all('[data-live][id]', page)) {
      const old = $(fresh.id);
      if (old) patch(old, fresh);
    }
    tick();
    localise();
    const next = page.getElementById('log')?.dataset.follow;
    if (next && next !== attempt && attempt && !attempt.endsWith('=0')) location.reload();
    attempt = next ?? attempt;
  } catch {
    // The server is away; the stream of events says so, and the next event tries again.
  } finally {
    refreshing = false;
    if (again) soon();
  }
}
function soon(ms = 300) {
  timer ??= setTimeout(() => {
    timer = undefined;
    refresh();
  }, ms);
}

// One stream of events for all tabs: the tab with the lock reads it and tells the others.
const say = (text) => {
  if ($('live') && $('live').textContent !== text) $('live').textContent = text;
};
let isUp, stream;
const job = document.querySelector('[data-job]')?.dataset.job;
function hear(message) {
  if (message.ask) return void (stream && tell({ up: isUp }));
  if ('up' in message) {
    if (message.up && isUp === false) soon(0);
    if (message.up) say('Live.');
    else if (isUp !== false) {
      const now = new Date().toLocaleTimeString('en-GB');
      say(`The events stopped at ${now}. Trying again.`);
    }
    isUp = message.up;
    return;
  }
  if (!job || !message.job || message.job === job) soon();
}
const channel = window.BroadcastChannel && new BroadcastChannel(`tide ${root.dataset.events}`);
channel?.addEventListener('message', (event) => hear(event.data));
const tell = (message) => channel?.postMessage(message);
function open() {
  stream = new EventSource(root.dataset.events);
  const both = (message) => (tell(message), hear(message));
  stream.onopen = () => both({ up: true });
  stream.onerror = () => {
    both({ up: false });
    if (stream.readyState !== EventSource.CLOSED) return;
    setTimeout(() => stream.readyState === EventSource.CLOSED && open(), 3000);
  };
  for (const kind of ['job', 'schedule', 'definition', 'engine', 'server', 'gap']) {
    stream.addEventListener(kind, (event) => {
      let data = {};
      try {
        data = JSON.parse(event.data);
      } catch {
        // An event that cannot be read still means that something changed.
      }
      both({ kind, job: data.job });
    });
  }
}
if (root.dataset.now && root.dataset.events) {
  if (navigator.locks && channel) {
    navigator.locks.request(`tide ${root.dataset.events}`, () => (open(), new Promise(() => {})));
    tell({ ask: true });
  } else {
    const follow = () => (document.hidden ? (stream?.close(), (stream = null)) : stream ?? open());
    document.addEventListener('visibilitychange', follow);
    follow();
  }
  document.addEventListener('visibilitychange', () => again && soon(0));
  setInterval(() => tick(), 1000);
  setInterval(() => isUp === false ? refresh() : soon(), 30000);
  localise();
}

// Actions are sent without leaving the page; what they changed comes back as any other change.
document.addEventListener('submit', async (event) => {
  const form = event.target;
  if (form.method !== 'post' || 'preview' in form.dataset) return;
  event.preventDefault();
  const button = event.submitter ?? form.querySelector('button');
  button.disabled = true;
  try {
    const body = new URLSearchParams(new FormData(form));
    const answer = await fetch(form.action, { method: 'POST', headers, body });
    const is = (action) => form.action.endsWith(`/${action}`);
    const moves = is('delete') || ($('says') && (is('rerun') || is('trigger')));
    if (answer.ok && moves) return void location.assign(answer.url);
    const page = parse(await answer.text());
    const did = `${button.getAttribute('aria-label') ?? button.textContent}: done.`;
    const error = page.querySelector('.problem p')?.textContent ?? 'That did not work.';
    $('said').textContent = answer.ok ? did : error;
    $('said').className = answer.ok ? 'hide' : 'notice';
    await refresh();
  } catch {
    $('said').textContent = 'The server does not answer, so nothing was changed.';
    $('said').className = 'notice';
  }
  button.disabled = false;
});

// A form says what will happen while it is filled in.
for (const form of all('form[data-preview]')) {
  let wait, last = 0;
  form.addEventListener('input', () => {
    clearTimeout(wait);
    wait = setTimeout(async () => {
      const needed = all('[required]:not([name=name])', form);
      if (needed.some((it) => !it.value)) return;
      const body = new URLSearchParams(new FormData(form));
      body.set('do', 'preview');
      const mine = ++last;
      const sent = fetch(form.action, { method: 'POST', headers, body });
      const answer = await sent.catch(() => null);
      if (!answer || mine !== last) return;
      const page = parse(await answer.text());
      const wrong = page.querySelector('.error, form > .notice')?.textContent;
      const error = document.createElement('p');
      error.className = 'says warn';
      error.textContent = wrong ?? '';
      const said = document.importNode(page.getElementById('preview'), true);
      $('preview').replaceChildren(...(wrong ? [error] : said.childNodes));
    }, 350);
  });
}

// The log: follows while the job runs, and lets go when one scrolls up.
const log = $('log');
if (log) {
  const isAtEnd = () => log.scrollHeight - log.scrollTop - log.clientHeight < 30;
  const toEnd = () => {
    log.scrollTop = log.scrollHeight;
    more.hidden = true;
    unseen = 0;
  };
  let unseen = 0;
  const about = { id: 'more', className: 'button first', hidden: true, textContent: 'To the end' };
  const more = Object.assign(document.createElement('button'), about);
  more.onclick = () => (toEnd(), log.focus());
  log.after(more);
  log.addEventListener('scroll', () => isAtEnd() && (more.hidden = true, (unseen = 0)));
  if (!/^#L\d/.test(location.hash)) toEnd();
  else document.querySelector(location.hash)?.scrollIntoView({ block: 'center' });
  const append = (lines) => {
    const stick = isAtEnd();
    for (const line of parse(lines).body.children) {
      let block = log.lastElementChild;
      if (!block || block.tagName !== 'DIV' || block.childElementCount >= 500) {
        block = log.appendChild(document.createElement('div'));
      }
      block.append(document.importNode(line, true));
      unseen++;
    }
    if (stick) return toEnd();
    more.textContent = `${unseen} new line${unseen === 1 ? '' : 's'}`;
    more.hidden = false;
  };
  const last = () => Number(all('p[id]', log).at(-1)?.id.slice(1) ?? 0);
  let control;
  const follow = async () => {
    if (document.hidden || control || !log.dataset.follow) return;
    control = new AbortController();
    let rest = '', isOver = false;
    try {
      const from = `${log.dataset.follow}&from=${last() + 1}`;
      const answer = await fetch(from, { headers, signal: control.signal });
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      while (answer.ok) {
        const { value, done } = await reader.read();
        if (done) break;
        const at = (rest += value).lastIndexOf('\n') + 1;
        if (at) append(rest.slice(0, at));
        rest = rest.slice(at);
      }
      isOver = answer.ok;
    } catch {
      // Hidden, or the server is away: the lines that are missing come with the next try.
    }
    control = null;
    if (isOver) delete log.dataset.follow;
    soon();
    setTimeout(follow, 2000);
  };
  document.addEventListener('visibilitychange', () =>
    document.hidden ? control?.abort() : follow());
  follow();
  for (const id of ['times', 'wrap']) {
    const box = $(id), kept = localStorage.getItem(`tide ${id}`);
    if (kept) box.checked = kept === 'true';
    box.onchange = () => localStorage.setItem(`tide ${id}`, box.checked);
  }
}

for (const button of all('[data-copy]')) {
  button.onclick = async () => {
    await navigator.clipboard.writeText($(button.dataset.copy).textContent);
    button.textContent = 'Copied';
  };
}
