/** What has happened in this process. */
export const report = { setups: 0, teardowns: 0, calls: 0, cancelled: [], notes: [], most: 0 };

let running = 0;

/** A handler whose calls are counted. */
export const counted =
  (handler) =>
  async (...args) => {
    report.calls++;
    report.most = Math.max(report.most, ++running);
    try {
      return await handler(...args);
    } finally {
      running--;
    }
  };

/** The report; the next one begins anew. */
export function takeReport() {
  const taken = { ...report };
  Object.assign(report, { cancelled: [], notes: [], most: running });
  return taken;
}
