// session-continuity: hands what happens in OpenCode to its hooks. Made by `continuity init`, removed by `continuity init --undo`.
import { spawnSync } from "node:child_process";

const HOOKS = {};

// A hook never fails the agent, whatever becomes of it.
function runHook(name, payload) {
  const found = HOOKS[name];
  if (!found) return {};
  try {
    const [program, ...words] = found.words;
    const { stdout } = spawnSync(program, words, {
      input: JSON.stringify(payload),
      encoding: "utf8",
      stdio: ["pipe", "pipe", "ignore"],
      timeout: found.seconds * 1000,
    });
    return stdout && stdout.trim() ? JSON.parse(stdout) : {};
  } catch {
    return {};
  }
}

// Parts and messages are told again and again while they grow; what is done is enough.
function isDone(type, { info = {}, part = {}, status = {} }) {
  if (type === "message.part.updated") {
    if (part.type === "tool") return ["completed", "error"].includes(part.state?.status);
    return part.type === "text" && part.time?.end !== undefined;
  }
  if (type === "message.updated") return info.role === "assistant" && info.time?.completed !== undefined;
  return type !== "session.status" || status.type === "retry";
}

export const SessionContinuity = async ({ directory }) => {
  const known = new Set(); // sessions that took part in this process
  const parents = new Map(); // subagent's session -> the session that sent it off
  const windows = new Map(); // session and model -> size of the context window
  const summaries = new Set(); // messages that are the summary of a compaction
  const triggers = new Map(); // session -> what set its last compaction off
  const told = new Map(); // session -> what a hook wants its model to know
  let latest;

  function send(name, session, payload) {
    if (session) latest = session;
    const parentID = parents.get(session);
    const answer = runHook(name, { directory, ...(parentID && { parentID }), ...payload });
    if (answer.additionalContext) told.set(session, answer.additionalContext);
    return answer;
  }

  function sendEvent(event) {
    const { type, properties = {} } = event;
    const { info = {}, part = {} } = properties;
    const session = properties.sessionID ?? info.sessionID ?? part.sessionID ?? info.id;
    const added = {};
    if (type === "session.created") {
      known.add(info.id);
      if (info.parentID) parents.set(info.id, info.parentID);
    }
    if (type === "message.updated") {
      if (info.summary === true) summaries.add(info.id);
      added.contextWindow = windows.get(`${session} ${info.modelID}`);
    }
    if (part.type === "compaction") triggers.set(session, part.auto ? "auto" : "manual");
    if (type === "message.part.updated" && summaries.has(part.messageID)) {
      added.summary = true;
      added.trigger = triggers.get(session);
    }
    if (type === "vcs.branch.updated" && latest) added.sessionID = latest;
    if (isDone(type, properties)) send(`event.${type}`, session, { ...event, ...added });
  }

  return {
    event: async ({ event }) => sendEvent(event),
    "chat.message": async (input, output) => {
      if (!known.has(input.sessionID)) {
        known.add(input.sessionID);
        send("session.resumed", input.sessionID, { sessionID: input.sessionID });
      }
      send("chat.message", input.sessionID, { input, output });
    },
    "chat.params": async (input) => {
      const { id, limit } = input.model ?? {};
      if (limit?.context) windows.set(`${input.sessionID} ${id}`, limit.context);
    },
    "tool.execute.before": async (input, output) => {
      const { block, reason } = send("tool.execute.before", input.sessionID, { input, output });
      if (block) throw new Error(reason);
    },
    "experimental.session.compacting": async (input, output) => {
      const { additionalContext } = send("experimental.session.compacting", input.sessionID, { input, output });
      if (additionalContext) output.context.push(additionalContext);
    },
    "experimental.chat.system.transform": async (input, output) => {
      const text = told.get(input.sessionID ?? latest);
      if (text) output.system.push(text);
    },
    dispose: async () => {
      for (const sessionID of known) send("dispose", sessionID, { sessionID });
    },
  };
};
