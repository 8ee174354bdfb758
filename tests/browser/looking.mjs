// What every look at a page needs: a browser, the accessibility checks, and an eye for what sticks out.
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import puppeteer from 'puppeteer-core';

export const axe = readFileSync(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');

export const launch = () => puppeteer.launch({
  executablePath: process.env.CHANGEOVER_CHROMIUM,
  headless: true,
  args: ['--no-sandbox', '--disable-dev-shm-usage', '--disable-gpu'],
});

/** Elements that stick out of the page, or text that is cut off, outside of what scrolls. Runs in the page. */
export const stickingOut = () => {
  const width = document.documentElement.clientWidth;
  const found = document.documentElement.scrollWidth > width ? [`the page is ${document.documentElement.scrollWidth} wide`] : [];
  for (const element of document.body.querySelectorAll('*')) {
    if (element.closest('.scroll, .bar nav') || element.closest('.unseen') || element.closest('svg')) continue;
    const box = element.getBoundingClientRect();
    if (box.width > 0 && (box.right > width + 1 || box.left < -1)) found.push(element.outerHTML.slice(0, 120));
  }
  return found.slice(0, 5);
};
