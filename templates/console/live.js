// Pages are whole without this. With it, what a page shows is renewed when the server says that it has changed: the page is asked for
// anew, and its parts marked data-live are put in the place of the old ones. A page that is not seen holds no connection.
'use strict';

(() => {
  const main = document.querySelector('main[data-events]');
  if (!main || !window.EventSource) return;
  let source, isAsking, isAskedAgain;

  const focusable = (part) => [...part.querySelectorAll('a, button, input, select, summary, [tabindex]')];

  function put(fresh, old) {
    if (old.innerHTML === fresh.innerHTML) return;
    const focused = focusable(old).indexOf(document.activeElement);
    const open = [...old.querySelectorAll('details')].map((one) => one.open);
    old.innerHTML = fresh.innerHTML;
    old.querySelectorAll('details').forEach((one, at) => { one.open = Boolean(open[at]); });
    if (focused >= 0) focusable(old)[focused]?.focus({ preventScroll: true });
    document.dispatchEvent(new CustomEvent('renewed', { detail: old }));
  }

  async function renew() {
    if (isAsking) { isAskedAgain = true; return; }
    isAsking = true;
    try {
      // Said so that an open page does not count as somebody who uses it.
      const answer = await fetch(location.href, { headers: { 'X-Changeover-Live': 'yes' }, redirect: 'manual' });
      if (answer.type === 'opaqueredirect') { close(); return; }
      if (!answer.ok) return;
      const page = new DOMParser().parseFromString(await answer.text(), 'text/html');
      for (const old of document.querySelectorAll('[data-live]')) {
        const fresh = page.getElementById(old.id);
        if (fresh) put(fresh, old);
      }
      if (!page.querySelector('main[data-events]')) { main.removeAttribute('data-events'); close(); }
    } catch { /* The server is away: the next event asks again. */ } finally {
      isAsking = false;
      if (isAskedAgain) { isAskedAgain = false; renew(); }
    }
  }

  function close() { source?.close(); source = undefined; }

  function open() {
    if (source || document.hidden || !main.dataset.events) return;
    source = new EventSource(main.dataset.events);
    source.addEventListener('changed', renew);
  }

  document.addEventListener('visibilitychange', () => { if (document.hidden) close(); else open(); });
  addEventListener('pagehide', close);
  addEventListener('pageshow', open);
  open();
})();
