import js from "@eslint/js";
import tseslint from "typescript-eslint";

export default tseslint.config(
  { ignores: ["dist", "build", "docs", "src/gen"] },
  js.configs.recommended,
  {
    files: ["**/*.ts", "**/*.cts"],
    extends: [tseslint.configs.strictTypeChecked],
    languageOptions: {
      parserOptions: { project: ["./tsconfig.json", "./test/tsconfig.json", "./examples/tsconfig.json"] },
    },
    rules: {
      // Numbers and bigints in messages are what they look like.
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true, allow: ["bigint"] }],
      // Index access is checked by noUncheckedIndexedAccess; `!` marks what a loop or a validation has proven.
      "@typescript-eslint/no-non-null-assertion": "off",
      // Short arrow functions may pass a void on.
      "@typescript-eslint/no-confusing-void-expression": "off",
      // node:test's test() returns a promise that nobody has to await.
      "@typescript-eslint/no-floating-promises": [
        "error",
        {
          allowForKnownSafeCalls: [
            { from: "package", name: ["test", "describe", "it", "suite"], package: "node:test" },
          ],
        },
      ],
    },
  },
  {
    files: ["test/**"],
    rules: {
      // Malformed messages are the point.
      "@typescript-eslint/no-unsafe-enum-assignment": "off",
    },
  },
  {
    files: ["**/*.mjs", "**/*.js", "**/*.cjs"],
    languageOptions: {
      globals: {
        process: "readonly",
        console: "readonly",
        Buffer: "readonly",
        performance: "readonly",
        AbortController: "readonly",
        setTimeout: "readonly",
        URL: "readonly",
        require: "readonly",
        module: "readonly",
      },
    },
  },
);
