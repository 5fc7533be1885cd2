import { describeDriver } from "../driver.suite.ts";
import { openNativeDriver } from "./native-driver.ts";

describeDriver({
  name: "native",
  open: (scratchRoot, cgroups) => openNativeDriver({ scratchRoot, cgroups }),
});
