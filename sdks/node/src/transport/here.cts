// A CommonJS file in both builds: the one way to learn the own folder that compiles for ESM and CommonJS alike.

/** Folder of the compiled transport files. */
export const here: string = __dirname;
