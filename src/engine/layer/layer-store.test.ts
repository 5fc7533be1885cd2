import { describeLayerStore } from "./layer-store.suite.ts";

describeLayerStore("file");
describeLayerStore("directory");
