import { expect, test } from "bun:test";

import { openCgroupHost } from "#linux/cgroup";

import { testId } from "../test-container.ts";
import { ExpectedPlaces } from "./expected.ts";

const cgroups = openCgroupHost();
const birth = (id: string, limit: number) => ({
  id,
  cgroupsPath: `/naru-test-expected/${id}`,
  resources: { devices: [], pids: { limit } },
});
const folders = () => cgroups.list("/naru-test-expected");

test("a place is made when a birth is expected, given to that birth, and removed when none comes", () => {
  const [first, second] = [testId(), testId()];
  {
    using places = new ExpectedPlaces(cgroups);
    places.expect(birth(first, 100));
    places.expect(birth(second, 100));
    expect(folders().toSorted()).toEqual([first, second].toSorted());
    const { cgroup, join } = places.take(birth(first, 100));
    expect(cgroup.path).toBe(`/naru-test-expected/${first}`);
    expect(join.tasks.length).toBeGreaterThan(0);
    join[Symbol.dispose]();
    cgroup.tryRemove();
    places.drop(second);
    expect(folders()).toEqual([]);
    places.expect(birth(second, 100));
  }
  expect(folders()).toEqual([]);
  cgroups.at("/naru-test-expected").tryRemove();
});

test("a birth with other limits than were expected gets its own", () => {
  const id = testId();
  using places = new ExpectedPlaces(cgroups);
  places.expect(birth(id, 100));
  using join = places.take(birth(id, 7)).join;
  expect(join).toBeDefined();
  const { folder } = cgroups
    .at(`/naru-test-expected/${id}`)
    .folders.find(({ hierarchy }) => hierarchy.controllers.includes("pids")) ?? { folder: "" };
  expect(Bun.file(`${folder}/pids.max`).text()).resolves.toBe("7\n");
  cgroups.at(`/naru-test-expected/${id}`).tryRemove();
  cgroups.at("/naru-test-expected").tryRemove();
});
