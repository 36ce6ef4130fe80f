// Names of clients and parameters of links are text on every page: nothing in them is executed or rendered, and the
// content security policy does not have to block anything. browser.mjs checks on every page that there are no errors
// and no policy violations.

import assert from "node:assert/strict";
import { eventually, look } from "./browser.mjs";
import { Client } from "./redis.mjs";
import { column, rows } from "./table.mjs";

const NAMES = ["<img/src=x/onerror=alert(1)>", "=cmd|calc", '"><script>'];

// Texts that cannot be names of clients but may be in a link.
const WORSE = [
  ...NAMES,
  "'-alert(1)-'",
  "javascript:alert(1)",
  "</title><script>alert(1)</script>",
  "{{7*7}}",
  "%00%0a%0dx:y",
  "\u202e\ud83d\ude00",
];

/** Asserts that the page has no element or attribute that is not from our templates. */
async function isClean(page, where) {
  const odd = await page.evaluate(() => {
    const own = "html, head, meta, title, link, script[src^='/assets/'][type='module'], body, body *";
    const embedded = "img, svg, iframe, object, embed, video, audio, base, math, body :is(script, style, link, meta)";
    const isCode = ({ name, value }) => /^(href|src|(form)?action)$/.test(name) && /^\s*javascript:/i.test(value);
    const runs = (attribute) => /^on/i.test(attribute.name) || isCode(attribute);
    const handlers = [...document.querySelectorAll("*")].filter((element) => [...element.attributes].some(runs));
    const unknown = [...document.querySelectorAll("*")].filter((element) => !element.matches(own));
    const found = [...document.querySelectorAll(embedded), ...handlers, ...unknown];
    return found.map((element) => element.outerHTML.slice(0, 200));
  });
  assert.deepEqual(odd, [], where);
}

/** Connects clients with hostile names, users and libraries. */
async function hostileClients() {
  const found = [];
  for (const name of NAMES) {
    const client = await Client.connect(name);
    await client.ask("ACL", "SETUSER", name, "on", "nopass", "~*", "&*", "+@all");
    await client.ask("AUTH", name, "any");
    // Servers before 7.2 do not support library names.
    await client.ask("CLIENT", "SETINFO", "lib-name", name).catch(() => {});
    found.push(client);
  }
  return found;
}

const names = (page) => column(page, "Name");

/** Waits until all of them are in a sample. */
async function sampled(reader) {
  const page = await reader.open("/clients?limit=1000");
  for (const name of NAMES) {
    await eventually(`${name} is sampled`, async () => (await names(page)).includes(name));
  }
  await isClean(page, "/clients");
  await page.close();
}

look("hostile names are text on every page", {}, async (reader) => {
  const clients = await hostileClients();
  await sampled(reader);
  for (const [at, name] of NAMES.entries()) {
    const given = encodeURIComponent(name);
    for (const where of [`/clients?q=${given}`, `/clients?user=${given}`]) {
      await reader.glance(where, async (page) => {
        assert.deepEqual([...new Set(await names(page))], [name], where);
        await isClean(page, where);
      });
    }
    await reader.glance(`/clients/${await clients[at].id()}`, async (page) => {
      assert.equal((await rows(page, "Field")).find((row) => row.Field === "name").Value, name);
      await isClean(page, "one client");
    });
  }
  for (const where of ["/", "/apps"]) {
    await reader.glance(where, async (page) => {
      const text = await page.locator("main").innerText();
      for (const name of NAMES) assert(text.includes(name), `${name} is on ${where}`);
      await isClean(page, where);
    });
  }
  const closed = await reader.open("/closed");
  clients.forEach((client) => client.leave());
  for (const name of NAMES) {
    await eventually(`${name} is closed`, async () => (await names(closed)).includes(name));
  }
  await isClean(closed, "/closed");
});

look("the link of an application or user with a hostile name opens the list of its clients", {}, async (reader) => {
  await hostileClients();
  await sampled(reader);
  for (const name of NAMES) {
    const places = [["/apps", { name: /^Application/ }], ["/", { name: "Application" }], ["/", { name: "User" }]];
    for (const [where, place] of places) {
      await reader.glance(where, async (page) => {
        const table = page.getByRole("table").or(page.getByRole("region")).and(page.getByLabel(place.name));
        await table.first().getByRole("link", { name, exact: true }).click();
        await page.waitForURL(/\/clients\?/);
        assert((await names(page)).includes(name), `${name} from ${where}`);
        await isClean(page, page.url());
      });
    }
  }
});

look("hostile text in a link, and in the search, is shown as text", {}, async (reader) => {
  const page = await reader.open("/clients");
  for (const text of WORSE) {
    const given = encodeURIComponent(text);
    for (const where of [`/clients?q=${given}`, `/clients?app=${given}`, `/clients?${given}=1`]) {
      await reader.glance(where, (page) => isClean(page, where));
    }
    const refusals = [[`/clients?sort=${given}`, 400], [`/clients?redis=${given}`, 404], [`/clients/${given}`, 400]];
    for (const [where, status] of refusals) {
      await reader.glance(where, (refused) => isClean(refused, where), status);
    }
    await page.getByLabel("Search").fill(text);
    await page.keyboard.press("Enter");
    await page.waitForURL((url) => url.searchParams.get("q") === text);
    assert.equal(await page.getByLabel("Search").inputValue(), text);
    await isClean(page, text);
  }
});
