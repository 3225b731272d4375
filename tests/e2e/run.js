// Runs the test files, several at a time: most of them wait for a server, a browser or a clock. `node run.js` runs all, `node run.js NAME…` some.

import { readdirSync } from "node:fs";
import { run } from "node:test";
import { tap } from "node:test/reporters";

/** Test files at a time, on two cores; more would only make slow what each of them waits for. */
const AT_ONCE = 3;

const named = process.argv.slice(2);
const files = named.length > 0 ? named : readdirSync(".").filter((name) => name.endsWith(".test.js")).sort();
run({ files, concurrency: AT_ONCE })
  .on("test:fail", () => (process.exitCode = 1))
  .compose(tap)
  .pipe(process.stdout);
