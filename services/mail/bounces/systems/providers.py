"""Notices of mailbox providers and of those that carry mails for others. An example of each is a test."""

from .system import system

PROVIDERS = (
    system(
        "Gmail",
        r"Google tried to deliver your message"
        r"|Delivery to the following recipients? (?:failed permanently|has been delayed:)"
        r"|There was a (?:temporary )?problem (?:while )?delivering your message|Gmail will retry for",
    ),
    system("Google Groups", r"the group you tried to contact|permission to post messages to the group"),
    system(
        "Yahoo",
        r"unable to deliver your message to the following address|^Message from \S+\.\s+Unable to deliver message to",
    ),
    system("Mail.ru", r"Это письмо создано автоматически|письмо не может быть доставлено"),
    system("Yandex", r"письмо не может быть отправлено|не удалось доставить", sender=r"yandex|daemon|post\W?master"),
    system("GMX, WEB.DE, IONOS", r"SMTP error from remote server|delivery retry timeout exceeded"),
    system("Zoho", r"ERROR_CODE ?:\s*\d|\[Status: Error, Address:"),
    system("Amazon WorkMail", r"An error occurred while trying to deliver the mail to the following recipients"),
    system("SendGrid", r"automatically generated message from SendGrid|able to be delivered to one of its intended"),
    system("EZweb", r"Each of the following recipients was rejected|The user\(s\) account is (?:disabled|temporarily)"),
    system("au, KDDI", r"^ ?Could not be delivered to:? ?<|^ ?As their mailbox is full"),
    system("docomo", r"Unknown user|送信できませんでした|宛先[^\n]{0,40}見つかりません", sender=r"docomo\.ne\.jp"),
    system(
        "Verizon",
        r"could not be delivered to mobile|No valid recipients for this MM|Requested action not taken",
        sender=r"vzw|vtext|verizon",
    ),
    system("Facebook", r"created automatically by Facebook", sender=r"facebook"),
    system(
        "NetEase, QQ", r"您的(?:邮件|郵件)|未能(?:送达|投递)|退信原因", sender=r"post|daemon|qq\.com|163\.com|126\.com"
    ),
    system("Biglobe", r"^ ?-+ ?Non-delivered information|messages in recipient's mailbox exceeded"),
    system("X2", r"^Delivery failed: \S{1,320}@|Your delivery to the following address has (?:been )?failed"),
    system("X3", r"Del[ie]very to the following recipients was aborted|Could not find a gateway for"),
    system("X4", r"Your mail message to the following address\(es\) could not be delivered|child status 100"),
    system("X6", r"We had trouble delivering your message|recipients returned permanent errors"),
)
