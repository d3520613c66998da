"""Words of mail systems, by language: that a mail did not arrive, that a system goes on trying, that a program answers.

Text is compared after `plain`. Each pattern needs linear time for a line.
"""

import re


def plain(text: str) -> str:
    """The text with the apostrophe that keyboards have."""
    return text.replace("\u2019", "'")


def any_of(*patterns: str, multiline: bool = False) -> re.Pattern[str]:
    """One pattern that fits where one of them does, in any case of letters."""
    return re.compile("|".join(patterns), re.IGNORECASE | (re.MULTILINE if multiline else 0))


FAILURE = any_of(
    # English
    r"\b(?:could|can|was|were|is|has|have|did|are)(?: ?not|n't)(?: yet)?(?: be| been)?(?: successfully)? "
    r"(?:deliver|sent|send|reach|accept|relay|process|forward|transmit)",
    r"\b(?:unable|not able|impossible|failed|failure|problems?|trouble|error) (?:(?:to|in|while|when|trying to) )?"
    r"(?:deliver|send|relay|transmit|reach|forward)",
    r"undeliver|non-?deliver|not (?:be )?deliver|delivering your (?:mail|message)",
    r"\bdeliver(?:y|ies)\b[^\n.]{0,60}\b(?:fail|abort|problem|error|refus|reject|not possible|impossible|delay"
    r"|suspend)",
    r"\b(?:fail|abort|problem|error)\w{0,4} (?:of |in )?deliver",
    r"\b(?:mail|message|e-?mail)s?\b[^\n.]{0,40}\b(?:returned|rejected|refused|bounced|failed|blocked|not accepted)\b",
    r"\breturned? (?:mail|message|to sender)|failure notice|returning (?:message|mail|to sender)|\bbounced?\b",
    r"\b(?:user|recipient|mailbox|address|account|host|domain)\b[^\n.]{0,20}(?:unknown|invalid|unavailable"
    r"|disabled|inactive"
    r"|is full|not (?:found|exist|recogn|list|valid)|doesn't exist|does not exist)",
    r"\b(?:unknown|invalid|no such) (?:user|recipient|mailbox|address|account|host|domain)",
    r"permanent(?:ly)? (?:fatal )?(?:error|fail)|fatal errors?|unrecoverable|giv(?:ing|en) up",
    # German, Dutch
    r"zustellbar|nicht (?:zugestellt|ausgeliefert|übermittelt|gesendet)|zustellung\b[^\n.]{0,40}fehlgeschlagen",
    r"fehler bei der (?:nachrichten)?zustellung|konnten?\b[^\n.]{0,80}nicht\b[^\n.]{0,40}(?:zugestellt|gesendet"
    r"|werden)",
    r"kon niet\b[^\n.]{0,40}(?:bezorgd|afgeleverd)|onbestelbaar|bezorging\b[^\n.]{0,30}mislukt"
    r"|niet (?:afgeleverd|bezorgd)",
    # French, Spanish, Portuguese, Italian
    r"non (?:remis|distribu|délivr)|n'a (?:pas )?(?:pu|été|pu être)\b[^\n.]{0,40}(?:remis|délivr|distribu|envoy"
    r"|achemin)",
    r"échec de (?:la |l')?(?:remise|distribution|livraison|envoi)|impossible de (?:remettre|délivrer|distribuer)",
    r"no (?:se )?(?:ha )?(?:pudo|podido|puede|fue)\b[^\n.]{0,40}entreg|no entregado|error (?:de|en la) entrega"
    r"|devuelto",
    r"não (?:pôde|pode|foi|puderam)\b[^\n.]{0,40}entreg|falha na entrega|não entregue",
    r"(?:impossibile|non è stato possibile) (?:recapitare|consegnare)|mancat[ao] (?:recapito|consegna)"
    r"|non recapitabile",
    # Swedish, Danish, Norwegian, Polish, Czech
    r"kunde inte levereras|kunne ikke leveres|olevererbar|ikke leveres",
    r"nie (?:może|mogła|została|udało się)\b[^\n.]{0,40}dostarcz|niedostarcz",
    r"nelze doručit|nebyla? doručen|nedoručiteln",
    # Russian, Turkish
    r"не (?:может быть|было|была|удалось)\b[^\n.]{0,40}(?:достав|отправ)|не доставлен|недоставлен",
    r"teslim edilemedi|iletilemedi|ula\u015ft\u0131r\u0131lamad\u0131",
    # Japanese, Chinese, Korean
    r"(?:配信|送信|配送|配達|お届け)(?:が|は|を)?(?:できません|できなかった|に失敗|エラー)|届けられません|返送され|エラーのため",
    r"退信|(?:无法|未能|無法)(?:送达|投递|发送|傳遞|送達|投遞)|(?:投递|发送)失败|被退回",
    r"전송(?:되지 못|에 실패|할 수 없)|전달되지|배달(?:되지|할 수)|반송",
)

# The reporter goes on trying. "Eventually the software will give up" stands in such notices, too.
WARNING = any_of(
    r"this is (?:only |just )?a warning|warning (?:message )?only|not need to resend|no action is (?:required"
    r"|necessary)",
    r"\bdelayed mail|not (?:yet been|been yet) delivered|hasn't been delivered yet|not yet (?:been )?(?:able"
    r"|delivered)",
    r"\bwill (?:be )?(?:retried|re-?attempt|retry|continue to|keep (?:on )?try)|(?:still|keep) (?:trying"
    r"|being retried)",
    r"(?:attempts?|tries) will continue|transient non-?fatal errors?|enqueued and undeliverable",
    r"(?:could not send|undelivered) (?:message for past|after)|\(delay(?:ed)?\)|^(?:delayed|verzögert|retardé"
    r"|retrasado)\b",
)
# These words also stand in replies that a final notice repeats.
DELAY = any_of(
    r"\b(?:has been|have been|is|are|was|being) (?:temporarily )?(?:delayed|postponed|deferred)\b",
    r"verzögert|wird weiterhin versucht|a été (?:retardé|différé)|se ha retrasado|entrega retrasada|atrasad[ao]",
    r"доставка\b[^\n.]{0,40}(?:задерж|отлож)|遅延|遅れて",
)
FINAL = any_of(
    r"permanent|unrecoverable|giv(?:e|en|ing) up|not going to try|no (?:further|more) (?:delivery )?attempts",
    r"will not be (?:re-?)?tri|retry time|too long|expired|return(?:ed|ing) (?:the )?(?:mail|message|to )",
    r"undeliverable|deleted from queue",
)

# What a paragraph has that names the reason.
REASON = any_of(
    r"unknown|no such|not?\b[^\n]{0,30}\b(?:found|exist|here|listed|recogni[sz]ed|valid|permitted|allowed"
    r"|accept|available)",
    r"invalid|disabled|full|quota|exceed|reject|refus|denied|blocked|blacklist|spam|unrout|expired|timed out|time-?out",
    r"give|resolve|loop|moved|inactive|suspend|unavailable|sorry|reason|error|because",
)
# The mail could have arrived, or may at another address: the address is no dead one.
FULL_OR_MOVED = any_of(
    r"\b(?:mail ?box|inbox|account|storage|quota|mailfolder|folder|disk)\b[^\n.]{0,40}\b(?:full|exceed|over"
    r"|limit|exhausted)",
    r"\bfull (?:mailbox|inbox)|over[ -]?quota|\bquota\b[^\n.]{0,30}\b(?:exceed|full|reach)",
    r"exceed\w*[^\n.]{0,40}\b(?:quota|storage|size limit)|out of (?:storage|space)",
    r"(?:insufficient|not enough) (?:disk|storage|system storage|space)",
    r"\b(?:has|have) (?:been )?moved\b|\baddress (?:has |was )?changed|\bnew (?:e-?mail )?address|user not local",
)

# How programs begin the subject of an automatic answer.
ANSWERING_SUBJECT = re.compile(
    r"\W*(?:(?:re|aw|sv|antw)\s*:\s*)?(?:"
    + any_of(
        r"out of (?:the )?office|auto(?:matic|mated)?[ -]?(?:re(?:ply|sponse|spond)|answer|:)|vacation\b",
        r"away (?:from|until|till|on)|on (?:holiday|leave|vacation)|i(?: a|')m (?:away|out)|unsubscribe\b",
        r"abwesen(?:d|heit)|automatische antwort|ich bin (?:nicht|im|bis)|urlaub|automatisch antwoord|afwezig",
        r"réponse automatique|absence du|message d'absence|absente?\b|respuesta autom[aá]tica|fuera de (?:la )?oficina",
        r"ausente|resposta autom[aá]tica|fora do escrit[oó]rio|ausência|risposta automatica|fuori (?:sede"
        r"|ufficio)|assente",
        r"autosvar|automatiskt? svar|frånvar|fravær|automaattinen vastaus|poissa",
        r"odpowiedź automatyczna|autoodpowiedź|poza biurem|automatická odpověď|nepřítomn|automatikus válasz",
        r"răspuns automat|otomatik yan[i\u0131]t|автоответ|автоматический ответ|αυτόματη απάντηση",
        r"رد تلقائي|תשובה אוטומטית|自動(?:応答|返信|回覆|回复)|不在|自动(?:回复|答复)|자동 ?(?:회신|응답)|부재 ?중",
    ).pattern
    + ")",
    re.IGNORECASE,
)
# How programs begin the subject of a reply or of a forwarded mail.
REPLYING_SUBJECT = re.compile(
    r"\s*(?:\[[^\]\n]{1,40}\]\s*)?(?:re|fwd?|aw|wg|antw|tr|rv|rif|enc|res|sv|vs|vb|fs|vl|odp|pd|ynt|ilt|vá|doorst|r|i"
    r"|továbbítás|отв|ответ|на|пересл|回复|答复|转发|回覆|轉寄|답장|전달)\s*(?:\[\d+\])?\s*[:\uff1a]",
    re.IGNORECASE,
)
# A challenge asks the sender to prove to be a person before the mail is delivered.
CHALLENGE = any_of(
    r"challenge[-/ ]response|\b(?:spam ?arrest|tmda|boxbe|bluebottle|mailblocks|sendio|antispam uol|spamlion"
    r"|knowspam)\b",
    r"to (?:release|deliver) your (?:message|mail|e-?mail)[^\n]{0,60}\b(?:click|reply|confirm|visit"
    r"|follow (?:the|this))",
    r"(?:click|reply|visit)\b[^\n]{0,100}\b(?:so that|to (?:have|get|allow))\b[^\n]{0,60}\b(?:message"
    r"|mail)\b[^\n]{0,30}deliver",
    r"(?:confirm|verify|prove) (?:that )?you are (?:a |not a )?(?:human|person|real|spam|robot)",
    r"(?:not|isn't) (?:yet )?(?:on|in) (?:my|his|her|their|the recipient's) (?:guest|white|allow|approved|safe"
    r"|contact)",
    r"held (?:until|pending)\b[^\n]{0,60}\b(?:confirm|verif|approv)",
)
CHALLENGING_SUBJECT = any_of(
    r"please confirm|confirm(?:ation)? (?:your|of your|required|needed|requested)|challenge",
    r"verification (?:required|needed|request)|sender verification|action required.{0,20}deliver",
)
