// Starts servers and a browser for the checks, and collects what went wrong.
//
// TIDETABLE is the server's binary. MODULES is the folder with the node modules. All files are in a
// folder that is removed at the end.
import { spawn } from 'node:child_process';
import { createRequire } from 'node:module';
import { mkdtempSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

const require = createRequire(join(process.env.MODULES, 'node_modules', 'x'));
const puppeteer = require('puppeteer-core');
export const axe = require('axe-core');

const folder = mkdtempSync(join(tmpdir(), 'tidetable-browser-'));
const children = new Set();
export const failures = [];
export const reports = [];

const freePort = () =>
  new Promise((found) => {
    const probe = createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address();
      probe.close(() => found(port));
    });
  });

/** A server on the simulated engine, with a port that it keeps when it starts again. */
export class Server {
  static async start(name) {
    const server = new Server();
    server.dir = join(folder, name);
    server.port = await freePort();
    server.url = `http://127.0.0.1:${server.port}`;
    await server.up();
    return server;
  }

  up() {
    const flags = ['--engine', 'simulated', '--time-zone', 'UTC', '--data-dir', this.dir];
    const listen = ['--listen', `127.0.0.1:${this.port}`];
    this.child = spawn(process.env.TIDETABLE, ['serve', ...listen, ...flags]);
    children.add(this.child);
    this.child.stderr.resume();
    return new Promise((ready, failed) => {
      this.child.stdout.once('data', ready);
      this.child.once('exit', () => failed(new Error('the server did not start')));
    });
  }

  kill() {
    const gone = new Promise((done) => this.child.once('exit', done));
    this.child.kill('SIGKILL');
    children.delete(this.child);
    return gone;
  }

  async call(method, path, body) {
    const headers = { 'content-type': 'application/json' };
    const answer = await fetch(this.url + path, { method, headers, body: JSON.stringify(body) });
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${text}`);
    return text ? JSON.parse(text) : null;
  }

  async submit(job) {
    return (await this.call('POST', '/job', job)).id;
  }

  wait(id) {
    return this.call('GET', `/job/${id}/wait?timeout=60s`);
  }
}

export const browser = await puppeteer.launch({
  executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
  headless: true,
  userDataDir: join(folder, 'profile'),
  args: ['--no-sandbox', '--disable-background-networking', '--disable-quic'],
});

/** Opens a page that notes dialogs, errors, and reports of the content security policy. */
export async function open(address, options = {}) {
  const page = await browser.newPage();
  page.setDefaultTimeout(15_000);
  page.on('dialog', (dialog) => (reports.push(`dialog on ${page.url()}`), dialog.dismiss()));
  page.on('pageerror', (error) => reports.push(`error on ${page.url()}: ${error.message}`));
  page.on('console', (message) => {
    const text = message.text();
    if (/content security policy|trusted/i.test(text)) reports.push(`${page.url()}: ${text}`);
  });
  if (options.bypass) await page.setBypassCSP(true);
  if (options.scripts === false) await page.setJavaScriptEnabled(false);
  await look(page, options.scheme ?? 'light', options.width ?? 1280);
  await page.goto(address, { waitUntil: 'load' });
  return page;
}

export async function look(page, scheme, width) {
  await page.emulateMediaFeatures([{ name: 'prefers-color-scheme', value: scheme }]);
  await page.setViewport({ width, height: width < 500 ? 640 : 900 });
}

/** Runs one check. The others go on when it fails. */
export async function check(name, work) {
  const began = Date.now();
  try {
    await work();
    console.log(`ok    ${name} (${Date.now() - began} ms)`);
  } catch (error) {
    failures.push(name);
    console.log(`FAIL  ${name}: ${error.stack}`);
  }
}

export function assert(condition, message) {
  if (!condition) throw new Error(message);
}

/** Presses Tab until the focused element fits. */
export async function tabTo(page, fits, what) {
  for (let presses = 0; presses < 200; presses++) {
    await page.keyboard.press('Tab');
    if (await page.evaluate(fits)) return;
  }
  throw new Error(`no way with the keyboard to ${what}`);
}

export async function end() {
  await browser.close();
  for (const child of children) child.kill('SIGKILL');
  rmSync(folder, { recursive: true, force: true });
}
