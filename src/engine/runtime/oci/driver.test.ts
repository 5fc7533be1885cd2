import { describeDriver } from "../driver.suite.ts";
import { openOciDriver } from "./driver.ts";

describeDriver({ name: "runc", open: () => openOciDriver({ command: "runc" }) });
