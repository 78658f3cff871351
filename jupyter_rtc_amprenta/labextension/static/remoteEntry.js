// A link from a document in JupyterLab to its page at the collaboration service: in the menu "File", in a tab's menu
// and above a notebook. It is written as what JupyterLab loads, a module-federation container, so nothing is built.

(() => {
  const NAME = "jupyter-rtc-amprenta";
  const COMMAND = "rtc:page";
  let shared;

  // What JupyterLab itself has loaded: a module of its own would be another one.
  async function ofJupyterLab(name) {
    const [version] = Object.values(shared[name]);
    return (await version.get())();
  }

  async function hasPage(server) {
    const { ServerConnection } = await ofJupyterLab("@jupyterlab/services");
    const answer = await ServerConnection.makeRequest(`${server.baseUrl}rtc/status`, {}, server);
    return answer.ok && Boolean((await answer.json()).page);
  }

  const plugin = {
    id: `${NAME}:plugin`,
    description: "Leads from a document to its people, invitations and versions.",
    autoStart: true,
    activate: async (app) => {
      const server = app.serviceManager.serverSettings;
      let isThere = false;
      app.commands.addCommand(COMMAND, {
        label: "Invite and Collaborate…",
        caption: "Who takes part in this document, invitations, and versions",
        isVisible: () => isThere,
        execute: () => {
          // A collaborative document's path begins with the drive that it is in: "RTC:".
          const path = (app.shell.currentWidget?.context?.path ?? "").replace(/^RTC:/, "");
          window.open(`${server.baseUrl}rtc/page?path=${encodeURIComponent(path)}`, "_blank", "noopener");
        },
      });
      isThere = await hasPage(server);
      app.commands.notifyCommandChanged(COMMAND);
    },
  };

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: (scope) => {
      shared = scope;
    },
    get: async () => () => ({ __esModule: true, default: plugin }),
  };
})();
