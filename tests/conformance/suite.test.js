// The official suite, all of it, as a test file of ours: its own command finds no tests, since vitest passes over
// whatever lies in node_modules. main.rs starts the broker and says where it is.
import { runConformanceTests } from "@durable-streams/server-conformance-tests"

const baseUrl = process.env.STREAMKEEPER_URL
if (!baseUrl) throw new Error("STREAMKEEPER_URL is not set: run `cargo test --test conformance`")

runConformanceTests({ baseUrl, subscriptions: true })
