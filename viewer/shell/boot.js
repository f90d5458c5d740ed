/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* What OHIF's own index.html does in inline scripts (our content security policy allows none), and its French. */
'use strict';
console.time('scriptToView'); // OHIF ends this timer at its first view
window.PUBLIC_URL = {{assets}};
window.drimboxPrefix = {{prefix}};
window.browserImportFunction = (address) => import(address);
try {
  localStorage.setItem('i18nextLng', 'fr');
} catch (refused) {
  // storage is switched off: OHIF then follows the browser's language
}

/* Completes the French texts of the bundle: a namespace present in both is merged, ours winning. */
window.drimboxFrench = (bundled) => {
  const extra = {{french}};
  for (const [namespace, texts] of Object.entries(extra)) {
    bundled.fr[namespace] = { ...bundled.fr[namespace], ...texts };
  }
  return bundled;
};
