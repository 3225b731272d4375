// Copies the libraries of the admin page from node_modules into the assets, with a list of them. `make vendor` runs it.

import { writeFileSync } from "node:fs";
import { join } from "node:path";

import { content, files, manifest, target } from "./support/vendored.js";

for (const entry of files) writeFileSync(join(target, entry.file), content(entry));
writeFileSync(join(target, "vendor.toml"), manifest());
