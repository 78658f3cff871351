// A stock y-websocket client, driven by test_javascript.py.
//
//   node client.mjs y-websocket-3
//
// On stdin one command a line, {"do": name, ...}; on stdout its answer, {"is": value} or {"error": text}.

import { createInterface } from 'node:readline'
import { WebSocket } from 'ws'
import * as Y from 'yjs'

const { WebsocketProvider } = await import(process.argv[2])
const doc = new Y.Doc()
const seen = []
const echoes = []
const ECHO = 102
let provider

/** What lies at a path: the name of a root type, then keys and indexes. */
function at ([root, ...path]) {
  // A root's kind is not in the document: who names it first decides, and tests name the right one.
  const roots = { cells: () => doc.getArray('cells'), source: () => doc.getText('source') }
  return path.reduce((type, key) => type.get(key), (roots[root] ?? (() => doc.getMap(root)))())
}

const commands = {
  connect ({ url, room, token }) {
    provider = new WebsocketProvider(url, room, doc, { params: { token }, WebSocketPolyfill: WebSocket })
    // As y-sweet's client does it: a message of its own type, which the server sends back once all before it is saved.
    provider.messageHandlers[ECHO] = (_, decoder) => echoes.push(decoder.arr.at(-1))
    provider.on('status', ({ status }) => seen.push(status))
    provider.on('synced', state => seen.push(state ? 'synced' : 'not synced'))
    // 1.x and 2.x tell of a close of their own making with nothing.
    provider.on('connection-close', event => seen.push(`closed ${event?.code ?? ''}`.trim()))
    return doc.clientID
  },
  insert: ({ path, index, text }) => at(path).insert(index, text),
  append: ({ path, text }) => at(path).insert(at(path).length, text),
  remove: ({ path, index, length }) => at(path).delete(index, length),
  // By keystrokes, each an update of its own, as people type.
  async type ({ path, index, text }) {
    for (const character of text) {
      at(path).insert(index++, character)
      await new Promise(resolve => setTimeout(resolve, 2))
    }
  },
  // What is no Yjs type, such as an output's data, is JSON already.
  read ({ path }) {
    const value = at(path)
    return value?.toJSON?.() ?? value
  },
  // What pycrdt hides: structs and deletions that wait, for ever where their predecessors are lost.
  pending: () => [doc.store.pendingStructs, doc.store.pendingDs].filter(one => one !== null).length,
  present: ({ state }) => provider.awareness.setLocalState(state),
  others: () => [...provider.awareness.getStates()].filter(([id]) => id !== doc.clientID).map(([, state]) => state),
  // The sync status: whether what was sent before this is saved.
  ask: ({ number }) => provider.ws.send(new Uint8Array([ECHO, number])),
  echoes: () => echoes,
  seen: () => seen,
  synced: () => provider.synced,
  wantsToConnect: () => provider.shouldConnect,
  lastMessage: () => provider.wsLastMessageReceived
}

for await (const line of createInterface({ input: process.stdin })) {
  const command = JSON.parse(line)
  let answer
  try {
    answer = { is: (await commands[command.do](command)) ?? null }
  } catch (error) {
    answer = { error: String(error?.stack ?? error) }
  }
  process.stdout.write(JSON.stringify(answer) + '\n')
}
// Stdin has ended: the test is done. The provider leaves, so that the others see it go.
provider?.destroy()
setTimeout(() => process.exit(), 50)
