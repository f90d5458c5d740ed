/* SPDX-License-Identifier: AGPL-3.0-or-later */
/* OHIF mode, loaded as it is (no build): its basic mode with our toolbar and panels, nothing that writes. */

const MPR_BUTTON = {
  id: 'DrimboxMpr',
  uiType: 'ohif.toolButton',
  props: {
    type: 'toggle',
    icon: 'layout-advanced-mpr',
    label: 'MPR',
    tooltip: 'Reconstruction multiplanaire (MPR)',
    commands: 'drimboxToggleMpr',
    evaluate: [{ name: 'evaluate.displaySetIsReconstructable', disabledText: 'Série non reconstructible' }],
  },
};

const TOOLBAR = {
  primary: ['WindowLevel', 'Pan', 'Zoom', 'TrackballRotate', 'Layout', 'DrimboxMpr', 'Crosshairs', 'MeasurementTools', 'MoreTools'],
  MeasurementTools: ['Length', 'Bidirectional', 'Angle', 'EllipticalROI', 'RectangleROI', 'Probe'],
  MoreTools: [
    'Reset', 'rotate-right', 'flipHorizontal', 'invert', 'ImageSliceSync', 'ReferenceLines', 'ImageOverlayViewer',
    'StackScroll', 'Cine', 'Magnify', 'TagBrowser',
  ],
};

export default {
  id: 'drimbox-mode',
  async modeFactory({ loadModules }) {
    const [basic] = await loadModules(['@ohif/mode-basic']);
    const base = basic.modeInstance;
    const [route] = base.routes;
    const layoutInstance = {
      ...route.layoutInstance,
      props: {
        ...route.layoutInstance.props,
        // no panel of measurements: its buttons would write a structured report and a file
        rightPanels: ['drimbox-extension.panelModule.identity'],
        rightPanelClosed: true,
        leftPanelClosed: window.innerWidth < 768,
      },
    };
    return {
      ...base,
      id: 'drimbox-mode',
      routeName: 'viewer',
      displayName: 'DRIMbox',
      hide: false,
      toolbarButtons: [{ $reference: 'cornerstone.toolbarButtons' }, MPR_BUTTON],
      toolbarSections: [{ $reference: 'cornerstone.toolbarSections' }, TOOLBAR],
      routes: [{ ...route, path: 'drimbox', layoutInstance }],
      extensions: { ...base.extensions },
    };
  },
};
