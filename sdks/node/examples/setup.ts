// Set-up: something is opened once per process, and closed after the drain.

// snippet:start
import { type FileHandle, open } from "node:fs/promises";
import { node } from "meshloom";
import { z } from "zod";

/** A table with a line `SENSOR,PLACE` for each sensor. */
class Places {
  private constructor(
    private readonly file: FileHandle,
    private readonly names: ReadonlyMap<string, string>,
  ) {}

  static async open(path: string): Promise<Places> {
    const file = await open(path);
    const lines = (await file.readFile("utf8")).split("\n");
    return new Places(file, new Map(lines.map((line) => line.split(",") as [string, string])));
  }
  find = (sensor: string): string | null => this.names.get(sensor) ?? null;
  [Symbol.asyncDispose] = (): Promise<void> => this.file.close();
}

export const locate = node("locate", {
  config: z.object({ places: z.string() }),
  input: z.looseObject({ sensor: z.string() }),
  setup: ({ config }) => Places.open(config.places),
}).map((reading, { state }) => ({ ...reading, place: state.find(reading.sensor) }));
// snippet:end
