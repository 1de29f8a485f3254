// One file, one test after the other; a slow machine is no failure.
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: { include: ["suite.test.js"], testTimeout: 30_000, fileParallelism: false },
})
