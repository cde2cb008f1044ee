// Tells when TensorBoard may have new steps: its reload button and its automatic reload, and now and then by itself.

const EVERY = 30_000; // milliseconds between two looks of its own
const RELOADED = "experimental.DataReloaded";

/** @typedef {{ type: string, id: number, isReply: boolean }} Message a message of TensorBoard's page to its plugins */

/**
 * Calls `callback` when TensorBoard's page has reloaded its data, when the tab becomes visible, and every 30 s while it is. TensorBoard
 * announces a reload through a port that a plugin sends to it. Versions that do not are covered by the interval.
 * @param {() => unknown} callback
 */
export function watchReload(callback) {
  const { port1: port, port2: theirs } = new MessageChannel();
  port.onmessage = ({ data }) => {
    /** @type {Message} */
    const { type, id, isReply } = JSON.parse(data);
    if (isReply) return;
    port.postMessage(JSON.stringify({ type, id, payload: null, error: null, isReply: true }));
    if (type === RELOADED) callback();
  };
  if (window.parent !== window) window.parent.postMessage("experimental.bootstrap", "*", [theirs]);
  const look = () => {
    if (document.visibilityState === "visible" && isOnScreen()) callback();
  };
  setInterval(look, EVERY);
  document.addEventListener("visibilitychange", look);
}

/** Whether TensorBoard shows the frame: it hides the frames of other tabs. */
export function isOnScreen() {
  return document.documentElement.clientWidth > 0;
}
