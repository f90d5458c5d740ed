/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* OHIF's configuration, as a function: OHIF calls it before it loads modes and extensions. */
'use strict';
(() => {
  const prefix = window.drimboxPrefix;
  // On a phone OHIF's header has no room for what the page around already says.
  const narrow = window.innerWidth < 768;

  /** Logo, warning and professional's name, at the left of OHIF's header. */
  function header(React) {
    const element = React.createElement;
    if (narrow) return element('span');
    const session = window.drimboxSession ?? {};
    const line = { lineHeight: '14px', fontSize: '12px' };
    const professional =
      session.professionnel &&
      element('span', { className: 'text-foreground', style: line }, session.professionnel, element('br'), session.structure);
    return element(
      'div',
      { style: { display: 'flex', gap: '12px', alignItems: 'center', paddingLeft: '8px' } },
      element('img', { src: `${prefix}site/logo.svg`, alt: 'DRIMbox', style: { height: '28px' } }),
      element('span', { style: { ...line, color: '#ffd54a', fontWeight: 600 } }, 'Usage non', element('br'), 'diagnostique'),
      professional,
    );
  }

  /** YYYYMMDD as DD/MM/YYYY; anything else as it is. */
  const frenchDate = (text) => text.replace(/^(\d{4})(\d{2})(\d{2})$/, '$3/$2/$1');

  /** One line at the top right of an image, taken from the image itself. */
  const overlay = (id, label, title, value) => ({
    id,
    inheritsFrom: 'ohif.overlayItem',
    label,
    title,
    condition: ({ referenceInstance }) => Boolean(referenceInstance && value(referenceInstance)),
    contentF: ({ referenceInstance, formatters }) => value(referenceInstance, formatters),
  });

  const preset = (id, description, window, level) => ({ id, description, window: String(window), level: String(level) });

  const customizations = {
    'ohif.tours': { $set: [] },
    'studyBrowser.studyMode': { $set: 'primary' },
    // Layouts that build a volume are reached by our own MPR button alone, which first checks the size.
    'layoutSelector.advancedPresetGenerator': { $set: () => [] },
    'viewportDownload.warningMessage': { $set: { enabled: true, value: 'Usage non diagnostique' } },
    'viewportOverlay.topRight': {
      $set: [
        overlay('PatientID', 'Id.', "Identifiant du patient dans l'image", (image) => image.PatientID),
        overlay('PatientName', '', "Nom du patient dans l'image", (image, formatters) =>
          formatters ? formatters.formatPN(image.PatientName) : image.PatientName),
        overlay('BirthDate', 'Né(e) le', 'Date de naissance', (image) => image.PatientBirthDate && frenchDate(image.PatientBirthDate)),
      ],
    },
    'cornerstone.windowLevelPresets': {
      $merge: {
        CT: [
          preset('ct-soft-tissue', 'Tissus mous', 400, 40),
          preset('ct-lung', 'Poumon', 1500, -600),
          preset('ct-liver', 'Foie', 150, 90),
          preset('ct-bone', 'Os', 2500, 480),
          preset('ct-brain', 'Cerveau', 80, 40),
        ],
      },
    },
  };

  const dataSource = {
    namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
    sourceName: 'drimbox',
    configuration: {
      friendlyName: 'DRIMbox',
      name: 'drimbox',
      qidoRoot: '/dicom-web',
      wadoRoot: '/dicom-web',
      wadoUriRoot: '/dicom-web',
      qidoSupportsIncludeField: false,
      supportsReject: false,
      supportsFuzzyMatching: false,
      supportsWildcard: false,
      imageRendering: 'wadors',
      thumbnailRendering: 'wadors',
      enableStudyLazyLoad: true,
      staticWado: true,
      // not 'pdf': DICOMweb before 1.23 answers 400 to /rendered of a PDF; its bulk data works
      singlepart: 'bulkdata,video',
      // as stored: the server never transcodes for the viewer
      acceptHeader: ['multipart/related; type=application/octet-stream; transfer-syntax=*'],
      omitQuotationForMultipartRequest: true,
      dicomUploadEnabled: false,
      bulkDataURI: { enabled: true, relativeResolution: 'studies' },
    },
  };

  function config() {
    // OHIF adds its own modes and extensions to ours from these lists: emptied, only ours exist.
    window.modes.splice(0);
    window.extensions.splice(0, Infinity, '@ohif/extension-default', '@ohif/extension-cornerstone');
    return {
      routerBasename: prefix,
      name: 'drimbox',
      extensions: [`${prefix}site/drimbox-ext.js`],
      modes: [`${prefix}site/drimbox-mode.js`],
      showStudyList: false,
      showPatientInfo: narrow ? 'disabled' : 'visibleReadOnly',
      investigationalUseDialog: { option: 'never' }, // our page and the header say it all the time
      measurementTrackingMode: 'none',
      disableConfirmationPrompts: true,
      maxNumberOfWebWorkers: Math.max(1, Math.min(4, (navigator.hardwareConcurrency || 2) - 1)),
      showWarningMessageForCrossOrigin: false,
      showCPUFallbackMessage: false,
      showLoadingIndicator: true,
      strictZSpacingForVolumeViewport: true,
      allowMultiSelectExport: false,
      showErrorDetails: 'production',
      maxNumRequests: { interaction: 20, thumbnail: 4, prefetch: 10 },
      studyPrefetcher: { enabled: false },
      whiteLabeling: { createLogoComponentFn: header },
      customizationService: { global: customizations },
      defaultDataSourceName: 'drimbox',
      dataSources: [dataSource],
      httpErrorHandler: (error) => {
        const message = { drimbox: { event: 'http-error', status: error?.status ?? null } };
        window.parent.postMessage(message, window.location.origin);
      },
    };
  }

  config.routerBasename = prefix; // OHIF reads it on the function itself before it calls it
  window.config = config;
})();
