# Redraws live-bytes.svg and live-bytes.pdf from live-bytes.dat: gnuplot live-bytes.gp
set encoding utf8
set datafile missing 'NaN'
set border 3 linecolor rgb '#666666'
set tics nomirror out textcolor rgb '#222222'
set grid ytics linecolor rgb '#dddddd' linetype 1 linewidth 0.6
do for [format in "svg pdf"] {
if (format eq "svg") {
set terminal svg size 1040,560 dynamic noenhanced font 'Helvetica,14' background '#ffffff'
set output 'live-bytes.svg'
} else {
set terminal pdfcairo size 27.46cm,14.78cm noenhanced font 'Helvetica,10.5'
set output 'live-bytes.pdf'
}
set label 1 'Live bytes through the step, by role' at screen 0.015,0.9571 left font ',17'
set label 2 'evidence: accesses framework 100 %; op times measured in the timing pass, corrected to the bare step' at screen 0.015,0.9143 left font ',13' textcolor rgb '#444444'
set label 3 'steady step: 654 ops, 1383 tensors, peak live 73.38 MiB' at screen 0.015,0.8768 left font ',13' textcolor rgb '#444444'
set lmargin at screen 0.085
set rmargin at screen 0.755
set tmargin at screen 0.8071
set bmargin at screen 0.145
set key at screen 0.767,graph 1 left top Left reverse samplen 1.2 spacing 1.25 font ',13'
set xlabel 'captured time in the step (ms)'
set ylabel 'live (MiB)'
set yrange [0:*]
set xrange [0:134.561]
set arrow 1 from first 63.8918,graph 0 to first 63.8918,graph 1.02 nohead front linecolor rgb '#444444' dashtype (2,4)
set label 11 'backward' at first 63.8918,graph 1.035 left font ',12' textcolor rgb '#444444'
set arrow 2 from first 0.0748048,graph 0 to first 0.0748048,graph 1.02 nohead front linecolor rgb '#444444' dashtype (2,4)
set label 12 'forward' at first 0.0748048,graph 1.035 left font ',12' textcolor rgb '#444444'
set arrow 3 from first 133.236,graph 0 to first 133.236,graph 1.02 nohead front linecolor rgb '#444444' dashtype (2,4)
set label 13 'optimizer' at first 133.236,graph 1.035 right font ',12' textcolor rgb '#444444'
plot 'live-bytes.dat' using 2:13 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#cccccc' title 'unknown', \
  'live-bytes.dat' using 2:12 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#999999' title 'library scratch', \
  'live-bytes.dat' using 2:11 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#882255' title 'input', \
  'live-bytes.dat' using 2:10 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#8C6D1F' title 'optimizer temporary', \
  'live-bytes.dat' using 2:9 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#000000' title 'backward temporary', \
  'live-bytes.dat' using 2:8 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#F0E442' title 'forward temporary', \
  'live-bytes.dat' using 2:7 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#009E73' title 'saved activation', \
  'live-bytes.dat' using 2:6 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#D55E00' title 'gradient', \
  'live-bytes.dat' using 2:5 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#E69F00' title 'optimizer state', \
  'live-bytes.dat' using 2:4 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#56B4E9' title 'frozen parameter', \
  'live-bytes.dat' using 2:3 with filledcurves x1 fillstyle solid noborder fillcolor rgb '#0072B2' title 'parameter'
}
unset output
