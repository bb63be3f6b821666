// alert: posts each anomaly to a Slack-compatible webhook.
import { ConfigError, isMain, node, Reject, Retry } from "meshloom";
import { z } from "zod";

const Config = z.strictObject({ title: z.string().default("Temperature") });

const Prediction = z.object({
  sensor: z.string(),
  celsius: z.number(),
  time: z.string(),
  prediction: z.string(),
  score: z.number(),
});

/** Refuses the config, before the pipeline starts, unless there is somewhere to post to. */
function webhookUrl() {
  const url = process.env.SLACK_WEBHOOK_URL ?? "";
  const remedy = "set SLACK_WEBHOOK_URL to your Slack webhook, or to the address that receiver.js prints";
  if (url === "") throw new ConfigError(`there is no webhook to post alerts to; ${remedy}`);
  if (!/^https?:/.test(url) || !URL.canParse(url))
    throw new ConfigError(`SLACK_WEBHOOK_URL is no http(s) URL; ${remedy}`);
  return url;
}

export const alert = node("alert", { config: Config, input: Prediction, setup: webhookUrl }).sink(
  async (reading, { config, state: url, event, signal }) => {
    const { sensor, celsius, time, prediction, score } = reading;
    // fetch keeps its connections open between alerts. The uid is the same on every attempt: a receiver that
    // knows it already need not alert twice.
    const response = await fetch(url, {
      method: "POST",
      headers: { "content-type": "application/json", "idempotency-key": event.uid },
      body: JSON.stringify({
        text: `:rotating_light: ${config.title}: ${prediction}: ${sensor} ${celsius} C at ${time} (score ${score})`,
        metadata: { event_type: "meshloom_alert", event_payload: { uid: event.uid } },
      }),
      signal,
    });
    const answer = await response.text();
    if (response.ok) return;
    const said = `the webhook answered ${response.status}: ${answer.slice(0, 200)}`;
    if (response.status === 429 || response.status >= 500) throw new Retry(said, { afterMs: retryAfterMs(response) });
    throw new Reject(said, { reason: "WEBHOOK_REFUSED" });
  },
);

/** Retry-After as milliseconds: seconds, or a date. */
function retryAfterMs({ headers }) {
  const after = headers.get("retry-after");
  if (after === null) return undefined;
  const ms = /^\d+$/.test(after) ? Number(after) * 1000 : Date.parse(after) - Date.now();
  return Number.isFinite(ms) ? Math.min(Math.max(ms, 0), 24 * 3600 * 1000) : undefined;
}

if (isMain(import.meta)) await alert.serve();
