// Walks the isolation forest that examples/anomaly/classify/train.py writes as model.json; its head documents the file.
import { z } from "zod";

const numbers = z.array(z.number());
const Tree = z.object({ feature: numbers, threshold: numbers, left: numbers, right: numbers, size: numbers });
const Model = z.object({
  features: z.tuple([z.literal("celsius"), z.literal("hour_sin"), z.literal("hour_cos")]),
  samples: z.number(),
  warning: z.number(),
  critical: z.number(),
  trees: z.array(Tree).min(1),
});

const EULER_GAMMA = 0.5772156649015329;

/** Mean depth of an unsuccessful search in a tree of `size` leaves. */
function averageDepth(size) {
  if (size < 3) return size === 2 ? 1 : 0;
  return 2 * (Math.log(size - 1) + EULER_GAMMA) - (2 * (size - 1)) / size;
}

/** What the model looks at: the temperature and the hour of day, as a circle; 32-bit floats, as scikit-learn has them. */
export function features(celsius, time) {
  const hour = Number(time.slice(11, 13)) + Number(time.slice(14, 16)) / 60;
  const angle = hour * ((2 * Math.PI) / 24);
  return [celsius, Math.sin(angle), Math.cos(angle)].map(Math.fround);
}

/** The model, from the text of model.json. Throws when it is something else. */
export function readForest(json) {
  const { samples, warning, critical, trees } = Model.parse(JSON.parse(json));

  function depth(tree, row) {
    let [node, depth] = [0, 0];
    while (tree.left[node] !== -1) {
      node = row[tree.feature[node]] <= tree.threshold[node] ? tree.left[node] : tree.right[node];
      depth++;
    }
    return depth + averageDepth(tree.size[node]);
  }

  return {
    /** As scikit-learn's score_samples: lower is stranger. */
    score(row) {
      const total = trees.reduce((sum, tree) => sum + depth(tree, row), 0);
      return -(2 ** (-total / trees.length / averageDepth(samples)));
    },
    /** normal, warning or critical. */
    level: (score) => (score <= critical ? "critical" : score <= warning ? "warning" : "normal"),
  };
}
