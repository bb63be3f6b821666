// classify: stands in for the Python node of examples/anomaly, to show that the language of a node can be swapped.
import { readFile } from "node:fs/promises";
import { ConfigError, isMain, node } from "meshloom";
import { z } from "zod";
import { features, readForest } from "./forest.js";

const Config = z.strictObject({ model: z.string() });
const Reading = z.object({ sensor: z.string(), celsius: z.number(), time: z.string() });

async function load({ config: { model } }) {
  try {
    return readForest(await readFile(model, "utf8"));
  } catch (cause) {
    const remedy = "it must be the model.json that examples/anomaly/classify/train.py writes beside model.joblib";
    throw new ConfigError([{ field: "model", message: `${model} cannot be used: ${cause.message}; ${remedy}` }]);
  }
}

export const classify = node("classify", { config: Config, input: Reading, setup: load }).map(
  (reading, { state: forest }) => {
    const score = forest.score(features(reading.celsius, reading.time));
    return { ...reading, prediction: forest.level(score), score: Number(score.toFixed(4)) };
  },
);

if (isMain(import.meta)) await classify.serve();
