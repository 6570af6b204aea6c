/** Intentions as rules: which one decides about a pair. The agent lists them in the order in which they are looked at. */

/** A name with its namespace, unless that is `default`. */
export function label(namespace, service) {
  return !namespace || namespace === "default" ? service : `${namespace}/${service}`;
}

/** The source of an intention, as it is written. */
export function sourceOf(intention) {
  return label(intention.SourceNS, intention.SourceName);
}

/** The destination of an intention, as it is written. */
export function destinationOf(intention) {
  return label(intention.DestinationNS, intention.DestinationName);
}

/**
 * What is decided about a connection from `source` to `destination`: `{state, intention, exact}`, where `state` is
 * one of `stateOf`, or `default`, and `exact` says that the intention names
 * both.
 */
export function decide(intentions, source, destination) {
  const intention = intentions.find(
    (one) =>
      fits(one.SourceNS, one.SourceName, source) && fits(one.DestinationNS, one.DestinationName, destination),
  );
  if (!intention) return { state: "default", intention: null, exact: false };
  const exact = sourceOf(intention) === source && destinationOf(intention) === destination;
  return { state: stateOf(intention), intention, exact };
}

/** `allow`, `deny`, `audit` (would deny, but only reports), or `request` where permissions look at HTTP requests. */
export function stateOf(intention) {
  if (intention.Permissions?.length) return "request";
  return intention.Audit && intention.Action === "deny" ? "audit" : intention.Action;
}

/** Every name that services or intentions have, sorted, without the star. */
export function names(services, intentions) {
  const found = new Set(services);
  for (const one of intentions) {
    if (one.SourceName !== "*") found.add(sourceOf(one));
    if (one.DestinationName !== "*") found.add(destinationOf(one));
  }
  return [...found].sort();
}

function fits(namespace, name, wanted) {
  const slash = wanted.indexOf("/");
  const own = slash < 0 ? "default" : wanted.slice(0, slash);
  const service = slash < 0 ? wanted : wanted.slice(slash + 1);
  if (namespace === "*") return true;
  return namespace === own && (name === "*" || name === service);
}
