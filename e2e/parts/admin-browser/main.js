// Walks through the pages of an admin port as a person would, in headless
// Chromium, and ends with 1 and a reason when anything is not as it should be.
//
//   run BASE PROFILE HELD AGENT [FOLDER]
//
// PROFILE is in force and has the agent AGENT; HELD is held back because a
// Secret is missing. Pictures go into FOLDER.
'use strict';

const assert = require('node:assert/strict');
const fs = require('node:fs');
const os = require('node:os');
const path = require('node:path');
const { chromium } = require('playwright-core');

const [base, profile, held, agent, folder] = process.argv.slice(2);
const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');
const FLAGS = [
  '--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
  '--disable-background-networking', '--disable-component-update', '--disable-sync', '--disable-lcd-text',
];
const WIDTHS = [1280, 960, 400];

const wrong = [];

// Whatever a page says or asks for that it should not.
function watch(page) {
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) wrong.push(`console: ${message.text()}`);
  });
  page.on('pageerror', (error) => wrong.push(`script: ${error}`));
  page.on('request', (request) => {
    if (new URL(request.url()).origin !== base) wrong.push(`asks elsewhere: ${request.url()}`);
  });
  page.on('requestfailed', (request) => {
    wrong.push(`failed: ${request.url()}: ${request.failure().errorText}`);
  });
  page.on('response', (response) => {
    if (response.status() >= 400) wrong.push(`${response.status()}: ${response.url()}`);
  });
}

// What a page is like for those who cannot see it, or see little at once.
async function judge(page, name) {
  for (const colorScheme of ['light', 'dark']) {
    for (const width of WIDTHS) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 900 });
      const wide = await page.evaluate(() => document.documentElement.scrollWidth);
      if (wide > width) wrong.push(`${name} at ${width} px is ${wide} px wide`);
      const { violations } = await page.evaluate(`${AXE}; axe.run()`);
      for (const { id, impact, help, nodes } of violations) {
        if (['serious', 'critical'].includes(impact)) {
          wrong.push(`${name} at ${width} px, ${colorScheme}: ${id} (${impact}): ${help}: ${nodes[0].html}`);
        }
      }
    }
  }
  await page.emulateMedia({ colorScheme: 'light' });
  await page.setViewportSize({ width: WIDTHS[0], height: 900 });
}

async function picture(page, name, options = {}) {
  if (!folder) return;
  await page.emulateMedia({ colorScheme: options.dark ? 'dark' : 'light' });
  await page.setViewportSize({ width: options.width ?? 1000, height: options.height ?? 400 });
  await page.screenshot({ path: path.join(folder, `${name}.png`), fullPage: !options.height });
}

async function walk(page) {
  await page.goto(`${base}/`);
  assert.equal(page.url(), `${base}/ui/`);
  const problem = page.getByRole('region', { name: 'What is wrong' }).getByRole('listitem').filter({ hasText: held });
  await problem.getByText('Held back').waitFor();
  await problem.getByText('SecretNotFound').waitFor();
  await problem.getByText('Create the Secret').waitFor();
  await judge(page, 'the overview');
  await picture(page, 'overview');
  await picture(page, 'overview-400-dark', { width: 400, dark: true });

  await page.getByRole('table').getByRole('link', { name: profile, exact: true }).click();
  await page.getByRole('heading', { level: 1, name: `Profile ${profile}` }).waitFor();
  await page.getByRole('heading', { level: 3, name: /^Ready/ }).waitFor();
  await judge(page, 'a profile');
  await picture(page, 'profile');
  await picture(page, 'profile-400', { width: 400 });

  await page.getByRole('region', { name: 'Table of agents' }).getByRole('link', { name: agent, exact: true }).click();
  await page.getByText('It proved that it runs the revision.').waitFor();
  await page.getByText(`${profile} applies.`).waitFor();
  const choices = page.getByRole('region', { name: 'Table of profiles for this agent' });
  await choices.getByRole('row').filter({ hasText: held }).getByText('NotInForce').waitFor();
  await judge(page, 'an agent');
  await picture(page, 'agent', { height: 860 });
  await picture(page, 'agent-400-dark', { width: 400, dark: true });

  await page.getByRole('link', { name: 'Revisions', exact: true }).click();
  await page.getByRole('heading', { level: 1, name: 'Revisions' }).waitFor();
  await page.getByRole('region', { name: 'Held back' }).getByText(held).waitFor();
  await judge(page, 'the revisions');
  await picture(page, 'revisions');

  await page.getByRole('link', { name: 'Agents', exact: true }).click();
  await page.getByLabel('Instance UID or host begins with').fill(agent.slice(0, 13).toUpperCase());
  await page.keyboard.press('Enter');
  await page.waitForURL(/find=/);
  const rows = page.getByRole('region', { name: 'Table of agents' }).getByRole('row');
  await rows.getByRole('link', { name: agent, exact: true }).waitFor();
  await judge(page, 'the agents');
  await picture(page, 'agents');

  await page.getByRole('link', { name: 'Profiles', exact: true }).click();
  await page.getByRole('heading', { level: 1, name: 'Profiles' }).waitFor();
  await judge(page, 'the profiles');

  // Who has no mouse begins at the content, and sees where they are.
  await page.keyboard.press('Tab');
  const skip = page.getByRole('link', { name: 'To the content' });
  assert.ok(await skip.evaluate((link) => link === document.activeElement), 'the first link has the focus');
  assert.ok((await skip.boundingBox()).x >= 0, 'it is seen');
  await page.keyboard.press('Enter');
  assert.match(page.url(), /#content$/);

  // A page is asked for again only if that is asked for.
  assert.equal(await page.locator('meta[http-equiv=refresh]').count(), 0);
  await page.getByRole('link', { name: 'Show this page anew every 10 seconds' }).click();
  await page.getByText('and every 10 seconds').waitFor();
  await page.getByRole('link', { name: 'Keep this page as it is' }).click();
  await page.getByRole('link', { name: 'Show this page anew every 10 seconds' }).waitFor();
}

// What is watched for is seen when it is there.
async function planted(context) {
  const page = await context.newPage();
  watch(page);
  await page.goto(`${base}/ui/`);
  await page.evaluate(() => {
    const image = document.createElement('img');
    image.src = 'http://127.0.0.2:9/x.png';
    document.body.append(image);
  });
  const deadline = Date.now() + 20_000;
  while (!wrong.some((what) => what.includes('Content Security Policy')) && Date.now() < deadline) {
    await new Promise((go) => setTimeout(go, 50));
  }
  const { violations } = await page.evaluate(`${AXE}; axe.run()`);
  assert.ok(violations.some(({ id }) => id === 'image-alt'), 'axe sees nothing');
  assert.ok(wrong.length > 0, 'a violation of the policy is not seen');
  await page.close();
  wrong.length = 0;
}

async function main() {
  const home = fs.mkdtempSync(path.join(os.tmpdir(), 'admin-browser-'));
  const context = await chromium.launchPersistentContext(home, {
    executablePath: '/usr/bin/chromium', headless: true, args: FLAGS, reducedMotion: 'reduce',
  });
  try {
    context.setDefaultTimeout(60_000);
    await planted(context);
    const page = await context.newPage();
    watch(page);
    await walk(page);
    assert.deepEqual(wrong, []);
  } finally {
    await context.close();
    fs.rmSync(home, { recursive: true, force: true });
  }
  console.log('every page is as it should be');
}

main().catch((error) => {
  console.error(error.stack ?? error);
  if (wrong.length) console.error(wrong.join('\n'));
  process.exit(1);
});
