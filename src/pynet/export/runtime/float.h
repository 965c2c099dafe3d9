/* float.h: what is float in a float32 network. */
typedef float net_real;
#define NET_R(constant)  constant##F
#define NET_M(function)  function##f
#define NET_EXP_TERMS    7U
#define NET_LOG_TERMS    8U
#define NET_SIN_TERMS    6U
#define NET_ATAN_TERMS   10U
#define NET_NORMAL_TERMS 70U
#define NET_NORMAL_END   5.5F
#define NET_EXP_MAX      88.72F
#define NET_EXP_MIN      -87.33F
#define NET_SIN_MAX      65536.0F
#define NET_LN2_HIGH     0.693359375F
#define NET_LN2_LOW      -2.12194440e-4F
#define NET_HALF_PI_1    1.5703125F
#define NET_HALF_PI_2    4.837512969970703125e-4F
#define NET_HALF_PI_3    7.54978995489188216e-8F
