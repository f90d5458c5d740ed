/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* OHIF extension, loaded as it is (no build): session, panel of identity, safe MPR, events for the page around. */

const FLOAT_BYTES = 4;
// Above about 1 GiB a volume shows uniformly grey in some browsers, without any error.
const LARGEST_VOLUME_BYTES = 1024 ** 3;

/** Tell the page around what happened. */
const tell = (message) => {
  if (window.parent !== window) window.parent.postMessage({ drimbox: message }, window.location.origin);
};

/** Professional, structure and study of this consultation; an empty object where the session has ended. */
async function readSession() {
  const query = new URLSearchParams({ contexte: new URLSearchParams(window.location.search).get('contexte') ?? '' });
  try {
    const answer = await fetch(`${window.drimboxPrefix}site/session.json?${query}`, { credentials: 'same-origin' });
    return answer.ok ? await answer.json() : {};
  } catch (unreachable) {
    return {};
  }
}

/** Listen once to the loading of images; cornerstone outlives the mode. */
let listening = false;
function listenToImages() {
  const target = window.cornerstone?.eventTarget;
  if (listening || !target) return;
  listening = true;
  const failed = (event) => tell({ event: 'image-failed', status: event.detail?.error?.status ?? null });
  target.addEventListener('CORNERSTONE_IMAGE_LOAD_FAILED', failed);
  target.addEventListener('CORNERSTONE_IMAGE_LOAD_ERROR', failed);
  const loaded = () => tell({ event: 'first-image', milliseconds: Math.round(performance.now()) });
  target.addEventListener('CORNERSTONE_IMAGE_LOADED', loaded, { once: true });
}

/** Bytes of the volume that MPR would build of a display set. */
function volumeBytes(displaySet) {
  const image = displaySet?.instances?.[0] ?? displaySet?.instance;
  const slices = displaySet?.numImageFrames ?? displaySet?.instances?.length ?? 0;
  return image ? image.Rows * image.Columns * slices * FLOAT_BYTES : 0;
}

const personName = (name) => String(name?.[0]?.Alphabetic ?? name?.Alphabetic ?? name ?? '').replace(/\^+/g, ' ').trim();
const frenchDate = (text) => (text ?? '').replace(/^(\d{4})(\d{2})(\d{2})$/, '$3/$2/$1');

/** Panel: the identity that the images themselves carry. */
function identityPanel(servicesManager) {
  const React = window.drimboxReact;
  const element = React.createElement;
  const { displaySetService } = servicesManager.services;
  const firstImage = () => {
    const displaySet = displaySetService.getActiveDisplaySets()[0];
    return displaySet?.instances?.[0] ?? displaySet?.instance ?? null;
  };
  return function IdentityPanel() {
    const [image, setImage] = React.useState(firstImage);
    React.useEffect(() => {
      const { DISPLAY_SETS_ADDED } = displaySetService.EVENTS;
      const subscription = displaySetService.subscribe(DISPLAY_SETS_ADDED, () => setImage(firstImage()));
      setImage(firstImage());
      return () => subscription.unsubscribe();
    }, []);
    if (!image) return null;
    const rows = [
      ['Nom', personName(image.PatientName)],
      ['Né(e) le', frenchDate(image.PatientBirthDate)],
      ['Sexe', image.PatientSex],
      ['Identifiant', image.PatientID],
      ['N° d’examen', image.AccessionNumber],
    ];
    const row = ([label, value]) =>
      element('div', { key: label, className: 'flex justify-between gap-2 px-3 py-1 text-[13px]' },
        element('dt', { className: 'text-muted-foreground' }, label),
        element('dd', { className: 'text-foreground' }, value ?? ''));
    return element('dl', { className: 'py-2', 'data-cy': 'drimbox-identity' }, rows.map(row));
  };
}

export default {
  id: 'drimbox-extension',

  /** Awaited by OHIF before its first render. */
  async preRegistration() {
    window.drimboxSession = await readSession();
  },

  onModeEnter() {
    listenToImages();
  },

  getPanelModule({ servicesManager }) {
    const component = identityPanel(servicesManager);
    return [{ name: 'identity', iconName: 'Patient', iconLabel: 'Identité', label: "Identité dans l'image", component }];
  },

  getCommandsModule({ servicesManager, commandsManager }) {
    const { displaySetService, hangingProtocolService, uiNotificationService, viewportGridService } = servicesManager.services;

    function activeDisplaySet() {
      const { activeViewportId, viewports } = viewportGridService.getState();
      const uid = viewports.get(activeViewportId)?.displaySetInstanceUIDs?.[0];
      return uid ? displaySetService.getDisplaySetByUID(uid) : undefined;
    }

    /** Between stack and MPR, on the active series: OHIF's own toggle would show the first one that can. */
    function drimboxToggleMpr() {
      if (hangingProtocolService.getState().protocolId === 'mpr') {
        commandsManager.run('setHangingProtocol', { protocolId: 'default' });
      } else if (volumeBytes(activeDisplaySet()) > LARGEST_VOLUME_BYTES) {
        uiNotificationService.show({
          title: 'MPR impossible',
          message: 'La série est trop volumineuse pour être reconstruite de façon fiable dans un navigateur.',
          type: 'warning',
        });
      } else {
        commandsManager.run('setHangingProtocol', { protocolId: 'mpr' });
      }
    }

    return { defaultContext: 'DEFAULT', definitions: { drimboxToggleMpr: { commandFn: drimboxToggleMpr } } };
  },
};
