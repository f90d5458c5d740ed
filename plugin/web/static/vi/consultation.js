/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* The page around the viewer: says what happens, keeps the session while somebody works, hides the images at its end. */
'use strict';
(() => {
  const frame = document.getElementById('visionneuse');
  const state = document.getElementById('etat');
  const ended = document.getElementById('fin');
  if (!frame) return;

  const POLL_MILLISECONDS = 30_000;
  const ACTIVITY_MILLISECONDS = 60_000;
  const WARNING_SECONDS = 120;
  let lastActivity = Date.now();
  let finished = false;

  function say(text) {
    if (state.textContent !== text) state.textContent = text;
  }

  function finish() {
    if (finished) return;
    finished = true;
    frame.src = 'about:blank';
    frame.hidden = true;
    document.querySelector('.identity').hidden = true;
    say('');
    ended.hidden = false;
    ended.querySelector('h2').focus();
  }

  async function poll() {
    if (finished) return;
    try {
      const answer = await fetch(frame.dataset.session, { credentials: 'same-origin', cache: 'no-store' });
      if (answer.status === 401) {
        finish();
      } else if (answer.ok) {
        const { secondes } = await answer.json();
        if (secondes < WARNING_SECONDS) say('Sans activité de votre part, la session se termine dans moins de deux minutes.');
      }
    } catch (unreachable) {
      say('Le serveur ne répond pas ; nouvel essai dans quelques secondes.');
    }
  }

  async function active() {
    const now = Date.now();
    if (finished || now - lastActivity < ACTIVITY_MILLISECONDS) return;
    lastActivity = now;
    try {
      const headers = { 'X-Drimbox-Jeton': frame.dataset.token };
      const answer = await fetch(frame.dataset.activity, { method: 'POST', credentials: 'same-origin', headers });
      if (answer.status === 401) finish();
      else say('');
    } catch (unreachable) {
      // the next poll says it
    }
  }

  function watch(target) {
    for (const name of ['pointerdown', 'keydown', 'wheel']) target.addEventListener(name, active, { passive: true });
  }

  window.addEventListener('message', (event) => {
    if (event.origin !== window.location.origin || event.source !== frame.contentWindow) return;
    const message = event.data?.drimbox;
    if (message?.event === 'first-image') {
      say('');
    } else if (message) {
      say('Une partie des images ne se charge pas.');
      poll();
    }
  });
  watch(window);
  frame.addEventListener('load', () => {
    if (!finished) watch(frame.contentWindow);
  });
  // a page restored from the browser's history may show a session that has ended
  window.addEventListener('pageshow', poll);
  document.addEventListener('visibilitychange', () => {
    if (!document.hidden) poll();
  });
  setInterval(poll, POLL_MILLISECONDS);
})();
