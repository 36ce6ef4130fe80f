// What the page says of each client is what the server says: its id, its address, and when it interacted last.

import assert from "node:assert/strict";
import { PATIENCE, eventually, look, pause } from "./browser.mjs";
import { Client, clientList } from "./redis.mjs";
import { rows } from "./table.mjs";

// Times are whole seconds here and there, and asking takes a moment.
const ROUNDING = 2;

const byId = (one, other) => Number(one) - Number(other);

/** The list of the server's, once the page has the same clients. */
async function agreed(page, control) {
  return eventually("the page and the server have the same clients", PATIENCE, async () => {
    const shown = (await rows(page)).map((row) => row["Client ID"]).sort(byId);
    const listed = (await clientList(control)).sort((one, other) => byId(one.id, other.id));
    return shown.join() === listed.map((client) => client.id).join() && listed;
  });
}

/** The server's own time, in seconds. */
async function now(control) {
  return Number((await control.ask("TIME"))[0]);
}

look("every client is there once, with its address and its last interaction", {}, async (reader) => {
  const [control, early] = [await Client.connect("control"), await Client.connect("early")];
  await pause(3000);
  const late = await Client.connect("late");
  const page = await reader.open("/clients?limit=1000&sort=id");
  const listed = await agreed(page, control);
  assert(listed.length > 15, "a crowd is there");
  const at = await now(control);
  const shown = new Map((await rows(page)).map((row) => [row["Client ID"], row]));
  for (const client of listed) {
    const row = shown.get(client.id);
    assert.equal(row.Address, client.addr);
    const silent = client.cmd === "NULL";
    assert.equal(row["Last interaction"] === "never", silent, JSON.stringify([row, client]));
    if (silent || client.name === "control" || client.name === "redis-client-exporter") continue;
    // MONITOR is fed by whatever anybody says.
    if (client.flags.includes("O")) continue;
    const last = Date.parse(row["Last interaction at"]) / 1000;
    const truth = at - Number(client.idle);
    assert(Math.abs(last - truth) <= ROUNDING, `${client.id}: ${last} on the page, ${truth} in truth`);
  }
  early.leave();
  late.leave();
  control.leave();
});

look("who speaks again interacted just now", {}, async (reader) => {
  const [client, control] = [await Client.connect("speaker"), await Client.connect("control")];
  const id = await client.id();
  const page = await reader.open(`/clients?q=${id}&limit=1000`);
  const last = async () => (await rows(page)).find((row) => row["Client ID"] === id)?.["Last interaction at"];
  const before = Date.parse(await eventually("he is there", PATIENCE, last));
  await pause(3000);
  assert(Date.parse(await last()) - before <= 1000, "silence moves nothing");
  await client.ask("PING");
  const spoke = await now(control);
  await eventually("the page knows it", PATIENCE, async () => {
    return Math.abs(Date.parse(await last()) / 1000 - spoke) <= ROUNDING && Date.parse(await last()) - before >= 2000;
  });
  client.leave();
  control.leave();
});

look("one client's own page has every field that the server tells", {}, async (reader) => {
  const [client, control] = [await Client.connect("alone"), await Client.connect("control")];
  const id = await client.id();
  const list = await reader.open(`/clients?q=alone`);
  await list.getByRole("link", { name: id, exact: true }).click();
  await list.waitForURL(/\/clients\/\d+/);
  const shown = new Map((await rows(list)).map((row) => [row.Field, row.Value]));
  const told = (await clientList(control)).find((found) => found.id === id);
  assert.deepEqual([...shown.keys()].sort(), Object.keys(told).sort());
  for (const field of ["id", "addr", "laddr", "name", "user", "db", "cmd"]) assert.equal(shown.get(field), told[field]);
  client.leave();
  control.leave();
});
