import { appendFileSync } from "node:fs";
import { ConfigError } from "meshloom";
import { report } from "./report.js";

let failedOnce = false;

/** The state of every handler: the log that its config names. */
class State {
  constructor(config) {
    this.config = config;
    this.log(`setup ${config.label}`);
    report.setups++;
  }

  log(line) {
    if (this.config.log !== "") appendFileSync(this.config.log, `${line}\n`);
  }

  [Symbol.dispose]() {
    report.teardowns++;
    this.log(`teardown ${this.config.label}`);
  }
}

export function setup({ config }) {
  if (config.setup === "refuse") throw new ConfigError([{ field: "setup", message: "asked to refuse the config" }]);
  if (config.setup === "fail" || (config.setup === "fail_once" && !failedOnce)) {
    failedOnce ||= config.setup === "fail_once";
    throw new Error("asked to fail");
  }
  return new State(config);
}
