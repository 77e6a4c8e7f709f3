// The pages in a real browser: accessibility, the keyboard, what happens under an open page, and
// hostile text. Without scripts, too.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { Server, assert, axe, browser, check, end, failures, look, open, reports, tabTo } from './harness.mjs';

const MOST_BYTES = 100 * 1024;
const empty = await Server.start('empty');
const full = await Server.start('full');

async function fill(server) {
  const etl = 'echo connecting to orders-db:5432; sleep 1; echo batch 1 of 97; echo connection refused >&2; exit 1';
  await server.call('PUT', '/definition/etl-orders', {
    image: 'registry.example/etl:3', command: ['sh', '-c', etl], memory: '512MiB', queue: 'etl', labels: { team: 'harbour' },
  });
  await server.call('PUT', '/definition/backup-db', { image: 'postgres-backup:15', command: 'sleep 1' });
  await server.call('PUT', '/schedule/backup', { job_name: 'backup-db', cron: '0 * * * *' });
  await server.call('PUT', '/schedule/orders', { job_name: 'etl-orders', cron: '0,30 * * * *', time_zone: 'Europe/Berlin' });
  await server.call('PUT', '/schedule/nightly', { job_name: 'etl-orders', cron: '30 2 * * *', paused: true });
  await server.call('PUT', '/schedule/heartbeat', { job_name: 'busybox', every: '2s', spec: { command: 'sleep 1' } });
  const failed = await server.submit({ job_name: 'etl-orders', date: 'now' });
  for (const date of ['20m', '1h']) await server.submit({ job_name: 'busybox', date });
  await server.submit({ job_name: 'busybox', date: 'now', command: 'sleep 3600' });
  await server.wait(failed);
  return { failed };
}

const ids = await fill(full);
const pages = {
  jobs: '/jobs', failed: '/jobs?state=failed', job: `/job/${ids.failed}`, schedules: '/schedules',
  schedule: '/schedule/heartbeat', definitions: '/definitions', definition: '/definition/etl-orders',
  forecast: '/forecast', 'job-form': '/job', 'schedule-form': '/schedule/orders/edit', problem: '/job/nothing',
};

async function violations(page) {
  await page.evaluate(axe.source);
  const found = await page.evaluate(() => globalThis.axe.run(document, { resultTypes: ['violations'] }));
  return found.violations.map((it) => `${it.id}: ${it.nodes.slice(0, 3).map((node) => node.html).join(' | ')}`);
}

for (const [state, server] of [['empty', empty], ['full', full]]) {
  await check(`accessibility, ${state}`, async () => {
    const wrong = [];
    const page = await open(server.url + '/jobs', { bypass: true });
    for (const [name, path] of Object.entries(pages)) {
      if (state === 'empty' && !/^\/(jobs|schedules|definitions|forecast)$/.test(path)) continue;
      await page.goto(server.url + path, { waitUntil: 'load' });
      for (const scheme of ['light', 'dark']) {
        for (const width of [320, 1280]) {
          await look(page, scheme, width);
          wrong.push(...(await violations(page)).map((it) => `${name} ${scheme} ${width}: ${it}`));
          const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
          if (over > 0) wrong.push(`${name} ${width}: ${over} px too wide`);
        }
      }
    }
    await page.close();
    assert(wrong.length === 0, wrong.join('\n'));
  });
}

await check('keyboard: find the failed job, read its log, run it again', async () => {
  const page = await open(full.url + '/jobs');
  await tabTo(page, () => document.activeElement.textContent === 'Failed', 'the filter');
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  await tabTo(page, () => document.activeElement.textContent === 'etl-orders', 'the failed job');
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  const before = page.url();
  await tabTo(page, () => document.activeElement.textContent === 'Run again', 'the button');
  await tabTo(page, () => document.activeElement.id === 'log', 'the log');
  const log = await page.evaluate(() => document.activeElement.innerText);
  assert(log.includes('connection refused'), log);
  await page.focus('#actions button');
  await Promise.all([page.waitForNavigation(), page.keyboard.press('Enter')]);
  assert(page.url() !== before && /\/job\/[0-9a-f]{32}$/.test(page.url()), page.url());
  await page.close();
});

await check('a schedule is made with the form', async () => {
  const page = await open(full.url + '/schedule');
  await page.type('#name', 'typed');
  await page.type('#cron', '15 22 * * MON-FRI');
  await page.type('#job_name', 'busybox:latest');
  await page.waitForFunction(() => /22:15 from Monday to Friday/.test(document.getElementById('preview').innerText));
  await Promise.all([page.waitForNavigation(), page.click('.form .button.first')]);
  assert(page.url().endsWith('/schedule/typed'), await page.$eval('main', (main) => main.innerText.slice(0, 600)));
  await page.click('form[action$="/pause"] button');
  await page.waitForSelector('form[action$="/resume"]');
  await page.close();
});

await check('a new job appears in an open page, and one stream serves all tabs', async () => {
  const streams = [];
  const note = (page) => page.on('request', (request) => request.url().endsWith('/events') && streams.push(request.url()));
  const tabs = [];
  for (let index = 0; index < 4; index++) {
    const page = await open('about:blank');
    note(page);
    await page.goto(full.url + '/jobs', { waitUntil: 'load' });
    tabs.push(page);
  }
  await tabs[3].bringToFront();
  await tabs[3].waitForFunction(() => document.getElementById('live').innerText === 'Live.');
  const id = await full.submit({ job_name: 'appears', date: '90s' });
  for (const page of [tabs[0], tabs[3]]) {
    await page.bringToFront();
    await page.waitForSelector(`#scheduled-${id}`);
  }
  assert(streams.length === 1, `${streams.length} streams`);
  await tabs[0].bringToFront();
  await tabs[0].click(`#scheduled-${id} button`);
  await tabs[0].waitForSelector(`#history-${id}`);
  for (const page of tabs) await page.close();
});

await check('the log follows, and lets go when one scrolls up', async () => {
  const steps = Array.from({ length: 60 }, (_, index) => `echo line ${index}`);
  const later = Array.from({ length: 20 }, (_, index) => `sleep 0.3; echo later ${index}`);
  const command = ['sh', '-c', [...steps, ...later, 'sleep 3600'].join('; ')];
  const id = await full.submit({ job_name: 'busybox', date: 'now', command });
  const page = await open(`${full.url}/job/${id}`);
  await page.waitForFunction(() => /later 1/.test(document.getElementById('log').innerText));
  const isAtEnd = () => page.$eval('#log', (log) => log.scrollHeight - log.scrollTop - log.clientHeight < 40);
  assert(await isAtEnd(), 'the log is not at its end');
  await page.$eval('#log', (log) => (log.scrollTop = 0));
  await page.waitForFunction(() => /\d+ new lines?/.test(document.getElementById('more')?.innerText));
  assert((await page.$eval('#log', (log) => log.scrollTop)) === 0, 'the log has moved');
  await page.click('#more');
  assert(await isAtEnd(), 'the button does not lead to the end');
  const numbers = await page.$$eval('#log p[id]', (lines) => lines.map((line) => line.id));
  assert(new Set(numbers).size === numbers.length, 'a line came twice');
  await full.call('POST', `/job/${id}/stop`);
  await page.close();
});

await check('an open page lives through the death of the server', async () => {
  const page = await open(full.url + '/jobs');
  await page.waitForFunction(() => document.getElementById('live').innerText === 'Live.');
  await full.kill();
  await page.waitForFunction(() => document.getElementById('live').innerText.startsWith('The events stopped'));
  await full.up();
  await page.waitForFunction(() => document.getElementById('live').innerText === 'Live.');
  const id = await full.submit({ job_name: 'after', date: '2h' });
  await page.waitForSelector(`#scheduled-${id}`);
  await page.close();
});

await check('100,000 lines of log', async () => {
  const lines = Array.from({ length: 100_000 }, (_, index) => index.toString(36)).join('\n');
  const id = await empty.submit({ job_name: 'busybox', date: 'now', command: ['printf', lines + '\n'] });
  await empty.wait(id);
  const page = await open(`${empty.url}/job/${id}#L91234`);
  const shown = await page.evaluate(() => document.querySelectorAll('#log p[id]').length);
  assert(shown === 100_000, `${shown} lines`);
  const seen = await page.$eval('#L91234', (line) => line.getBoundingClientRect().top);
  assert(seen > 0 && seen < 900, `the linked line is at ${seen}`);
  const text = (99_000).toString(36);
  const isFound = await page.evaluate((text) => globalThis.find(text), text);
  assert(isFound, 'the search of the browser finds nothing');
  await page.close();
});

await check('hostile text stays text', async () => {
  const texts = ['<script>alert(1)</script>', '<img src=x onerror=alert(1)>', '"><svg/onload=alert(1)>', '\u001b]8;;javascript:alert(1)\u0007x', '</title><script>alert(1)</script>'];
  for (const text of texts) {
    const id = await empty.submit({ job_name: 'busybox', date: 'now', command: ['echo', text], env: { A: text }, labels: { a: text } });
    await empty.wait(id);
    const page = await open(`${empty.url}/job/${id}`);
    assert((await page.$$('main script, main img, main svg[onload]')).length === 0, text);
    await page.goto(`${empty.url}/jobs?q=${encodeURIComponent(text)}`);
    await page.goto(`${empty.url}/job?job_name=${encodeURIComponent(text)}`);
    await page.type('#date', ' ');
    await page.waitForFunction(() => document.querySelector('#preview .warn'));
    await page.close();
  }
});

await check('without scripts', async () => {
  const page = await open(full.url + '/jobs?state=failed', { scripts: false });
  const link = await page.$('#list-history a');
  await Promise.all([page.waitForNavigation(), link.click()]);
  await page.waitForSelector('#log p');
  const before = page.url();
  const again = await page.$('form[action$="/rerun"] button');
  await Promise.all([page.waitForNavigation(), again.click()]);
  assert(page.url() !== before, page.url());
  await page.close();
});

await check('all of a page is below 100 kB', async () => {
  const page = await open('about:blank');
  const devtools = await page.createCDPSession();
  await devtools.send('Network.enable');
  let bytes = 0;
  devtools.on('Network.loadingFinished', (done) => (bytes += done.encodedDataLength));
  await page.goto(full.url + '/jobs', { waitUntil: 'load' });
  assert(bytes > 0 && bytes < MOST_BYTES, `${bytes} bytes`);
  await page.close();
});

await check('pictures', async () => {
  const folder = process.env.PICTURES;
  if (!folder) return;
  mkdirSync(folder, { recursive: true });
  for (const name of ['jobs', 'job', 'schedules']) {
    for (const scheme of ['light', 'dark']) {
      const page = await open(full.url + pages[name], { scheme });
      await page.screenshot({ path: join(folder, scheme === 'light' ? `${name}.png` : `${name}-dark.png`) });
      await page.close();
    }
  }
});

await check('no dialog, no error, no report', async () => {
  assert(reports.length === 0, reports.join('\n'));
  assert((await browser.pages()).length <= 1, 'a page was left open');
});

await end();
console.log(failures.length ? `${failures.length} failed: ${failures.join(', ')}` : 'all is well');
process.exit(failures.length ? 1 : 0);
