"""Notices of mail servers: what Exim, qmail and their kin write to a mail's sender. An example of each is a test."""

from .system import system

SERVERS = (
    system("Exim", r"A message (?:that|which) you(?: have)? sent (?:could not be|has not(?: yet)? been) delivered"),
    system("qmail", r"\bThis is the qmail-send program|I'm afraid I wasn't able to deliver your message"),
    system("Postfix", r"I'm sorry to have to inform you that|This is the (?:mail system|Postfix program) at host"),
    system(
        "sendmail",
        r"(?<!-)-{2,}+ ?The following addresses had [^\n]{0,40}(?:errors|problems)"
        r"|(?<!-)-{2,}+ ?Transcript of session follows",
    ),
    system("V5 sendmail", r"^(?:[45]\d\d|250) [^\n]{1,200}\.\.\. ", sender=r"mail delivery|daemon|postmaster"),
    system(
        "OpenSMTPD",
        r"This is the MAILER-DAEMON, please DO NOT REPLY|An error has occurred while attempting to deliver a message"
        r"|A message is delayed for more than",
    ),
    system("DragonFly Mail Agent", r"This is the DragonFly Mail Agent|There was an error delivering your mail to <"),
    system(
        "Courier",
        r"running the Courier mail server|This is a delivery status notification from"
        r"|Your message to the following recipients cannot be delivered",
    ),
    system("Apache James", r"^Error message below:|unable to deliver the attached message because of an error"),
    system(
        "Exchange",
        r"did not reach (?:some or all of )?the (?:following|intended) recipient|recipient\(s\) could not be reached"
        r"|MSEXCH:IM[SC]:|Delivery has failed to these recipients|Diagnostic information for administrators"
        r"|RESOLVER\.ADR\.",
    ),
    system(
        "Exchange in other languages",
        r"Fehler bei der Nachrichtenzustellung|Diagnoseinformationen für Administratoren|Échec de la remise"
        r"|Informations de diagnostic pour les administrateurs|No se pudo entregar|Error en la entrega a"
        r"|Información de diagnóstico para los administradores|Impossibile recapitare|Informazioni di diagnostica per"
        r"|Falha na entrega|Informações de diagnóstico para administradores|Diagnostische gegevens voor beheerders"
        r"|Diagnostikinformation för administratörer|Informacje diagnostyczne dla administratorów"
        r"|Диагностические сведения для администраторов|管理者向けの診断情報|管理员的诊断信息",
    ),
    system(
        "Microsoft SMTP service",
        r"Delivery to the following recipients? (?:has been delayed|failed\.)"
        r"|automatically generated Delivery Status Notif",
    ),
    system(
        "Domino",
        r"^Your message\s[\s\S]{0,400}\bwas not delivered to:|not listed in (?:the )?(?:Domino|public) \S+"
        r"|^-+ ?Failure Reasons ?-+",
    ),
    system(
        "IMail",
        r"^(?:Unknown (?:user|host)|Invalid final delivery userid|User mailbox exceeds|undeliverable to|Delivery failed"
        r"|Body of message generated response|Invalid host name)\b",
        sender=r"post\W?master",
        program=r"SMTP32|IMail",
    ),
    system("MDaemon", r"had (?:permanent|transient)[^\n]{0,40}delivery errors|did NOT receive a copy of your message"),
    system("CommuniGate Pro", r"^Failed to deliver to ['\"<]|\bmodule\([^)\n]{1,60}\) reports:"),
    system("GroupWise", r"The message that you sent was undeliverable to the following"),
    system(
        "Sun Messaging Server, PMDF",
        r"This report relates to a message you sent with the following|message cannot be delivered to the following"
        r"|has been enqueued and undeliverable",
    ),
    system(
        "MailEnable, SmarterMail",
        r"could not (?:be delivered to some recipients|deliver (?:the )?message to the following)",
    ),
    system("Cisco Email Security", r"The following message to <[^>\n]{0,320}> was undeliverable"),
    system("Dovecot", r"^Your message to <?[^\n>]{1,320}>? was automatically rejected"),
)
