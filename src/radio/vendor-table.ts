import type { Dialect, ModemIdentity, Vendor } from './modem-report.ts';
import { fibocomDialect } from './vendor/fibocom.ts';
import { genericDialect } from './vendor/generic.ts';
import { huaweiDialect } from './vendor/huawei.ts';
import { meigDialect } from './vendor/meig.ts';
import { nordicDialect } from './vendor/nordic.ts';
import { openluatDialect } from './vendor/openluat.ts';
import { quectelDialect } from './vendor/quectel.ts';
import { sierraDialect } from './vendor/sierra.ts';
import { simcomDialect } from './vendor/simcom.ts';
import { telitDialect } from './vendor/telit.ts';
import { ubloxDialect } from './vendor/ublox.ts';

/** Every dialect by its maker. */
export const dialects: Readonly<Record<Vendor, Dialect>> = {
  generic: genericDialect,
  quectel: quectelDialect,
  simcom: simcomDialect,
  ublox: ubloxDialect,
  sierra: sierraDialect,
  telit: telitDialect,
  huawei: huaweiDialect,
  fibocom: fibocomDialect,
  nordic: nordicDialect,
  meig: meigDialect,
  openluat: openluatDialect,
};

/** The names of the makers. */
export const vendors: readonly Vendor[] = Object.keys(dialects) as Vendor[];

interface VendorMark {
  readonly vendor: Vendor;
  /** As the modem names its maker. */
  readonly maker: RegExp;
  /** As the modem names itself. */
  readonly model: RegExp;
  /** Vendor ids on the USB, in hexadecimal. */
  readonly usb: readonly string[];
}

/** In the order of trust: the maker's own name, then the model, then the USB id, which chip makers lend to others. */
const marks: readonly VendorMark[] = [
  { vendor: 'quectel', maker: /quectel/i, model: /^(?:QUECTEL[_ ]?)?(?:EC|EG|EM|EP|BG|BC|RM|RG|UC|UG|AG|SC|QDC)\d{2,3}/i, usb: ['2c7c'] },
  { vendor: 'simcom', maker: /simcom/i, model: /^(?:SIMCOM_?)?(?:SIM\d{3,4}|A76\d\d)/i, usb: ['1e0e'] },
  { vendor: 'ublox', maker: /u-?blox/i, model: /^(?:SARA|TOBY|LARA|LISA|LENA|MPCI)-/i, usb: ['1546'] },
  { vendor: 'sierra', maker: /sierra|semtech/i, model: /^(?:MC|EM|WP|HL|RC)\d{4}|^DW58/i, usb: ['1199'] },
  { vendor: 'telit', maker: /telit|cinterion/i, model: /^(?:LE|LM|LN|ME|FN|FE|HE|UE|GE|NE)\d{3}/i, usb: ['1bc7'] },
  { vendor: 'huawei', maker: /huawei|td[ -]?tech|hisilicon/i, model: /^(?:ME909|MU709|MT5700|E[35]\d{3}|E8372|MH5000)/i, usb: ['12d1', '3466'] },
  { vendor: 'fibocom', maker: /fibocom/i, model: /^(?:FM|FG|L8\d0|NL\d|L610|L716|MA510)\d*/i, usb: ['2cb7', '0e8d', '8087'] },
  { vendor: 'nordic', maker: /nordic/i, model: /^nRF91/i, usb: ['1915'] },
  { vendor: 'meig', maker: /meig/i, model: /^S[LR]M\d{3}/i, usb: ['2dee'] },
  { vendor: 'openluat', maker: /openluat|luat|airm2m/i, model: /^(?:Air\d{3}|LuatOS)/i, usb: ['1782', '19d1'] },
]; // prettier-ignore

/**
 * The maker of a modem by what it says of itself (`ATI`, `+CGMI`, `+CGMM`), else by its vendor id on the USB (four
 * hexadecimal digits); `generic` when nothing is known of it.
 */
export function vendorOf(identity: ModemIdentity, usbVendorId?: string): Vendor {
  const { manufacturer = '', model = '', revision = '' } = identity;
  const byMaker = marks.find(({ maker }) => maker.test(manufacturer));
  const byModel = marks.find(
    (mark) => mark.model.test(model) || mark.model.test(revision) || mark.maker.test(model),
  );
  const byUsb = marks.find(({ usb }) => usb.includes(usbVendorId?.toLowerCase() ?? ''));
  return (byMaker ?? byModel ?? byUsb)?.vendor ?? 'generic';
}
