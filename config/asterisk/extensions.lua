-- Holdfast in a dialplan written in Lua: the same as extensions.conf beside this file, and with the
-- same meaning of HOLDFAST_ARGS, HOLDFAST_MAX_WAIT, HOLDFAST_AFTER, QUEUE_PRIO and QUEUESTATUS.
--
--     local holdfast = dofile("/etc/holdfast/asterisk/extensions.lua")
--     extensions = { inbound = { ["700"] = function() holdfast.queue("support") end } }
--
-- One Lua state belongs to one channel, and a channel comes back here when Stasis() returns.

local holdfast = {}

local NAME = "^[%w*#+._@-]+$"
local ENDPOINT = "^PJSIP/[%w_.-]+$"
local ENDPOINT_AT = "^PJSIP/[%w_.-]+@[%w_.-]+$"

local function text(name)
    return channel[name]:get() or ""
end

-- Ends a call that would blind ARI: bytes that are no printable ASCII in the Call-ID, or a queue
-- name outside the grammar.
local function guard(queue)
    local call_id = text("CHANNEL(pjsip,call-id)")
    if call_id:find("[^\33-\126]") or not queue:match(NAME) or #queue > 64 then
        app.Hangup(1)
        return false
    end
    local number = text("CALLERID(num)")
    channel["CALLERID(num)"]:set((number:gsub("[^%w*#+._-]", "")))
    local name = text("CALLERID(name)")
    channel["CALLERID(name)"]:set((name:gsub('[%c"<>\\]', "")))
    return true
end

-- Only endpoints of PJSIP are dialled, whatever call_string holds.
local function dialable(call_string)
    for part in (call_string .. "&"):gmatch("(.-)&") do
        if not (part:match(ENDPOINT) or part:match(ENDPOINT_AT)) then
            return false
        end
    end
    return true
end

local function stasis(...)
    channel["TIMEOUT(absolute)"]:set(tonumber(text("HOLDFAST_MAX_WAIT")) or 3600)
    app.Stasis("QueueARI", ...)
    channel["TIMEOUT(absolute)"]:set(0)
    return text("STASISSTATUS") ~= "FAILED"
end

-- Puts the caller into a queue and returns the QUEUESTATUS with which the caller left it.
function holdfast.queue(queue)
    if not guard(queue) then
        return "UNKNOWN"
    end
    channel.QUEUE_NAME:set(queue)
    channel.QUEUESTATUS:set("")
    channel.call_string:set("")
    app.Answer("", "i")
    app.StartMusicOnHold()
    local args = text("HOLDFAST_ARGS")
    local heard
    if args == "" then
        heard = stasis(queue)
    else
        heard = stasis(queue, args)
    end
    while heard and text("call_string") ~= "" do
        local call_string = text("call_string")
        channel.call_string:set("")
        local status = "NONE"
        if dialable(call_string) then
            app.Dial(call_string, tonumber(text("RINGTIME")) or 20, "gm")
            status = text("DIALSTATUS")
        end
        if status == "ANSWER" then
            channel.QUEUESTATUS:set("CONTINUE")
            break
        end
        app.StartMusicOnHold()
        heard = stasis(queue, "again=" .. status)
    end
    if not heard then
        channel.QUEUESTATUS:set("FAILED")
    end
    app.StopMusicOnHold()
    return text("QUEUESTATUS")
end

-- An agent's feature code: login, logout, pause or unpause.
function holdfast.code(word)
    app.Answer("", "i")
    channel["TIMEOUT(absolute)"]:set(30)
    app.Stasis("QueueARI", word)
    if text("STASISSTATUS") == "FAILED" then
        app.Playback("sorry")
    end
    app.Hangup()
end

return holdfast
