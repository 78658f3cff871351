// What JupyterLab shows of a document's collaboration: a link to its page at the collaboration service, in the menu
// "File", in a tab's menu and above a notebook; and in the status bar, whether the document's link is live. It is
// written as what JupyterLab loads, a module-federation container, so nothing is built.

(() => {
  const NAME = "jupyter-rtc-amprenta";
  const COMMAND = "rtc:page";
  // By what the server says of the link (LinkAwareness.show_link): what is shown, and what that means.
  const LINKS = {
    live: ["Collaboration: live", "All who are here see the same."],
    connecting: [
      "Collaboration: connecting…",
      "What you do here is kept on your server, and sent as soon as it is connected.",
    ],
    offline: [
      "⚠ Collaboration: offline",
      "What you do here is kept on your server, and sent when the connection is back. It comes back by itself.",
    ],
    refused: [
      "⚠ Collaboration: refused",
      "What you do here is kept on your server, which asks again every minute.",
    ],
    ended: ["Collaboration: not shared", "You take part no longer. What you do here stays in your own file."],
    // Nothing is heard of the server that says the others.
    cut: ["⚠ Collaboration: your server does not answer", "What you do here is kept in this page until it does."],
  };
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

  async function addPageCommand(app) {
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
  }

  function awarenessOf(widget) {
    return widget?.context?.model?.sharedModel?.awareness;
  }

  // The user's server says it as an awareness state of its own, which unlike those of people has no user.
  function linkOf(awareness) {
    return [...(awareness?.getStates().values() ?? [])].find((state) => state.link && !state.user)?.link;
  }

  async function addLinkSign(app, statusBar) {
    if (!statusBar) {
      return; // Notebook 7 has none.
    }
    const { Widget } = await ofJupyterLab("@lumino/widgets");
    const { Signal } = await ofJupyterLab("@lumino/signaling");
    const sign = new Widget();
    sign.id = "rtc-link";
    sign.addClass("jp-StatusBar-TextItem");
    sign.node.setAttribute("role", "status");
    const activeStateChanged = new Signal(sign);
    const linked = new WeakSet();
    let awareness;
    const show = () => {
      const link = linkOf(awareness) ?? (linked.has(awareness) ? { state: "cut" } : undefined);
      if (link) {
        linked.add(awareness);
      }
      const [text, meaning] = LINKS[link?.state] ?? ["", ""];
      sign.node.title = [meaning, link?.reason].filter(Boolean).join("\n");
      // Nothing is said twice: a screen reader would read it again.
      if (sign.node.textContent !== text) {
        sign.node.textContent = text;
        activeStateChanged.emit();
      }
    };
    const follow = () => {
      awareness?.off("change", show);
      awareness = awarenessOf(app.shell.currentWidget);
      awareness?.on("change", show);
      show();
    };
    statusBar.registerStatusItem(`${NAME}:link`, {
      item: sign,
      align: "left",
      rank: 100,
      priority: 1,
      isActive: () => Boolean(sign.node.textContent),
      activeStateChanged,
    });
    app.shell.currentChanged.connect(follow);
    follow();
  }

  async function plugins() {
    const { IStatusBar } = shared["@jupyterlab/statusbar"] ? await ofJupyterLab("@jupyterlab/statusbar") : {};
    return [
      {
        id: `${NAME}:plugin`,
        description: "Leads from a document to its people, invitations and versions.",
        autoStart: true,
        activate: addPageCommand,
      },
      {
        id: `${NAME}:link`,
        description: "Shows in the status bar whether a document's link is live.",
        autoStart: true,
        optional: IStatusBar ? [IStatusBar] : [],
        activate: addLinkSign,
      },
    ];
  }

  window._JUPYTERLAB = window._JUPYTERLAB || {};
  window._JUPYTERLAB[NAME] = {
    init: (scope) => {
      shared = scope;
    },
    get: async () => {
      const found = await plugins();
      return () => ({ __esModule: true, default: found });
    },
  };
})();
