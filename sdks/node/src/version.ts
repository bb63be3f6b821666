/** Version of this package; a test holds it equal to package.json. */
export const VERSION = "0.1.0";
/** Protocol versions that this SDK speaks. */
export const PROTOCOL: Readonly<{ min: number; max: number }> = { min: 1, max: 1 };
